// Package drivers is all engines of Holdfast, for programs that let their settings choose: holdfast.New("orders",
// holdfast.Drivers(drivers.All()...)). It is the only package that imports every driver; a program that names the ones
// it uses links those only.
package drivers

import (
	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config/consulconfig"
	"github.com/holdfast-go/holdfast/lock/consullock"
	"github.com/holdfast-go/holdfast/queue/kafkaqueue"
	"github.com/holdfast-go/holdfast/queue/rabbitqueue"
	"github.com/holdfast-go/holdfast/registry/consulregistry"
)

// All returns every engine that is not in each program anyway.
func All() []holdfast.Driver {
	return []holdfast.Driver{
		consulregistry.Opener{},
		consulconfig.Opener{},
		consullock.Opener{},
		kafkaqueue.Opener{},
		rabbitqueue.Opener{},
		rabbitqueue.Opener{TLS: true},
	}
}
