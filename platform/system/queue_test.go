package system_test

import (
	"strings"
	"testing"

	"github.com/holdfast-go/holdfast/platform/system"
)

// A user may be named, if the password is in a file; what is or could be a secret is refused and not repeated.
func TestCheckQueue(t *testing.T) {
	for _, url := range []string{
		"none", "nats://127.0.0.1:4222?token-file=/run/token", "kafka://10.0.0.1:9092,10.0.0.2:9092",
		"kafka://shop@10.0.0.1:9093,10.0.0.2:9093?tls=true&sasl=scram-sha-512&password-file=/run/kafka",
		"amqp://shop@127.0.0.1:5672/shop?password-file=/run/rabbit", "amqps://shop%40eu@h:5671?password-file=/run/a@b",
	} {
		if err := system.CheckQueue(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"kafka://shop:hunter2@10.0.0.1:9093":                   "credentials",
		"kafka://shop:hunter2@10.0.0.1:9093?password-file=/f":  "credentials",
		"amqp://shop:hun@ter2@10.0.0.1:5672/shop":              "credentials",
		"amqp://shop:hun/ter2@10.0.0.1:5672":                   "credentials",
		"amqp://:hunter2@10.0.0.1:5672":                        "credentials",
		"nats://hunter2@10.0.0.1:4222":                         "credentials", // a token
		"nats://10.0.0.1:4222?token=hunter2":                   "credentials",
		"kafka://shop@10.0.0.1:9093?password=hunter2":          "credentials",
		"kafka://shop:hun?ter2@10.0.0.1:9093":                  "bad address",
		"kafka://shop@10.0.0.1?password-file=/run/kafka":       `bad address "10.0.0.1"`,
		"kafka://shop@?password-file=/run/kafka":               `bad address ""`,
		"redis://shop:hunter2@10.0.0.1:6379?password=/hunter2": "bad URL",
	} {
		err := system.CheckQueue(url)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hun") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
