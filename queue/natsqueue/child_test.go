package natsqueue_test

func runChild() {}
