package events

import (
	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
)

// Engines links what may carry the shop's messages beside NATS, which every service has: HOLDFAST_QUEUE says which one does.
func Engines() holdfast.Option {
	return holdfast.Drivers(kafkaqueue.Opener{}, rabbitqueue.Opener{}, rabbitqueue.Opener{TLS: true})
}
