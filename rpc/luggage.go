package rpc

import (
	"context"
	"reflect"
	"unsafe"

	"google.golang.org/grpc/metadata"
)

// luggage is the outgoing metadata of an attempt that takes along nothing but its place in a trace. It lies in the attempt,
// and spares most of what package metadata would allocate for it. Once packed it is never changed: it belongs to a context,
// which interceptors may keep for as long as they like.
type luggage struct {
	value any // of outgoingKey; nil if there is none
	raw   rawMD
	added [1][]string
	pair  [2]string
}

// rawMD is what package metadata has as the value of outgoingKey, in a type of its own.
type rawMD struct {
	md    metadata.MD
	added [][]string
}

// theirRaw is a value of that type; nil if it does not look like rawMD any more, or an interface not as pack has it.
var theirRaw = probeRaw(metadata.AppendToOutgoingContext(context.Background(), "key", "value"))

func probeRaw(ctx context.Context) any {
	if outgoingKey == nil {
		return nil
	}
	value := ctx.Value(outgoingKey)
	theirs, ours := reflect.TypeOf(value), reflect.TypeFor[rawMD]()
	if theirs == nil || theirs.Kind() != reflect.Struct || theirs.Size() != ours.Size() || theirs.NumField() != ours.NumField() {
		return nil
	}
	for i := range ours.NumField() {
		a, b := theirs.Field(i), ours.Field(i)
		if a.Name != b.Name || a.Type != b.Type || a.Offset != b.Offset {
			return nil
		}
	}
	var l luggage
	l.pack(value, "key", "value")
	if !reflect.DeepEqual(l.value, value) {
		return nil
	}
	return value
}

// pack makes l say key: value. key is in lower case; theirs is theirRaw.
func (l *luggage) pack(theirs any, key, value string) {
	l.pair = [2]string{key, value}
	l.added[0] = l.pair[:]
	l.raw.added = l.added[:]
	// An interface is its type and a pointer to what it holds. The one is theirs, and the other lies here.
	(*[2]unsafe.Pointer)(unsafe.Pointer(&theirs))[1] = unsafe.Pointer(&l.raw)
	l.value = theirs
}
