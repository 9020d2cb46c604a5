package kv

import (
	"time"

	"github.com/holdfast-go/holdfast/failure"
)

// Txn is several operations that happen together: all of Then if every comparison of If holds, else all of Else. They
// see each other's changes, in order, and share one revision.
type Txn struct {
	If         []Compare
	Then, Else []Op
}

// TxnResult is what a transaction did.
type TxnResult struct {
	// Succeeded: the comparisons held, Then was run.
	Succeeded bool
	// Revision of the store after it.
	Revision uint64
	// Before has, for each operation that was run, the item that it found: nil if there was none. Only that of a GetOp has a
	// Value: one that is put or deleted and wanted takes a GetOp before.
	Before []*Item
}

// Relation is how two sides of a comparison are to stand to each other.
type Relation byte

// The relations.
const (
	Equal Relation = 1 + iota
	NotEqual
	Less
	Greater
)

func (r Relation) valid() bool { return r >= Equal && r <= Greater }

// holds reports whether order, which is below, at or above 0 as the left side is less, equal or greater, is as demanded.
func (r Relation) holds(order int) bool {
	switch r {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case Greater:
		return order > 0
	}
	return false
}

// target is what of an item is compared.
type target byte

const (
	targetRevision target = 1 + iota
	targetCreated
	targetVersion
	targetValue
)

func (t target) valid() bool { return t >= targetRevision && t <= targetValue }

// Compare is a condition on one key. Make one with the functions below.
type Compare struct {
	key      string
	target   target
	relation Relation
	number   uint64
	value    []byte
}

// Absent holds if there is no such key.
func Absent(key string) Compare {
	return Compare{key: key, target: targetRevision, relation: Equal}
}

// Exists holds if there is such a key.
func Exists(key string) Compare {
	return Compare{key: key, target: targetRevision, relation: Greater}
}

// Revision compares the revision of the key's last write; that of a key that does not exist is 0.
func Revision(key string, is Relation, revision uint64) Compare {
	return Compare{key: key, target: targetRevision, relation: is, number: revision}
}

// Created compares the revision in which the key was created; that of a key that does not exist is 0.
func Created(key string, is Relation, revision uint64) Compare {
	return Compare{key: key, target: targetCreated, relation: is, number: revision}
}

// Version compares how often the key was written since it was created; a key that does not exist has 0.
func Version(key string, is Relation, version uint64) Compare {
	return Compare{key: key, target: targetVersion, relation: is, number: version}
}

// Value compares the bytes of the key's value. It never holds for a key that does not exist.
func Value(key string, is Relation, value []byte) Compare {
	return Compare{key: key, target: targetValue, relation: is, value: value}
}

// Op is an operation of a transaction. Make one with PutOp, DeleteOp or GetOp.
type Op struct {
	kind  byte
	key   string
	value []byte
	ttl   time.Duration
}

// PutOp writes a key, with a TTL if that is above 0. value must not be modified before the transaction returns.
func PutOp(key string, value []byte, ttl time.Duration) Op {
	return Op{kind: opPut, key: key, value: value, ttl: ttl}
}

// DeleteOp removes a key, if it is there.
func DeleteOp(key string) Op { return Op{kind: opDelete, key: key} }

// GetOp changes nothing; the result has what it found, all of them together at most MaxResultBytes. Larger values are
// read with Store.Get or Store.View.
func GetOp(key string) Op { return Op{kind: opGet, key: key} }

// validate refuses what the machine would, before it travels.
func (t Txn) validate() error {
	var e *failure.Error
	wrong := func(field, format string, args ...any) {
		if e == nil {
			e = failure.New(failure.InvalidArgument, "malformed transaction").WithReason("MALFORMED", domain)
		}
		e = e.WithViolation(field, format, args...)
	}
	for _, list := range []struct {
		name string
		n    int
	}{{"If", len(t.If)}, {"Then", len(t.Then)}, {"Else", len(t.Else)}} {
		if list.n > maxOperations {
			wrong(list.name, "has %d, at most %d are allowed", list.n, maxOperations)
		}
	}
	for _, c := range t.If {
		if err := checkKey(c.key); err != nil || !c.target.valid() || !c.relation.valid() {
			wrong("If", "a comparison of key %.40q with target %d and relation %d: %v", c.key, c.target, c.relation, err)
		}
	}
	for _, op := range append(t.Then[:len(t.Then):len(t.Then)], t.Else...) {
		if err := checkKey(op.key); err != nil || op.kind < opPut || op.kind > opGet || op.ttl < 0 {
			wrong("Then, Else", "operation %d on key %.40q with TTL %v: %v", op.kind, op.key, op.ttl, err)
		}
	}
	if e != nil {
		return e
	}
	return nil
}
