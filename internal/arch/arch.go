// Package arch states the layers of this repository and checks that imports only point down.
//
// [Layers] is the whole rule: every package of the module belongs to exactly one layer, a package may import
// packages of lower layers, and within its own layer only what [Siblings] lists. Test files are held to the same
// rule, except that they may also import the conformance suites, the memory drivers and anything under internal/.
//
// The check reads the import clauses of all files with go/parser; it builds nothing and sees every platform's files.
package arch

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path of the module that is checked.
const Module = "github.com/holdfast-go/holdfast"

// Layers lists the packages of each layer, lowest first, as paths below the module. "x/..." covers x and everything
// below it; the longest pattern that matches decides. "." is the module's root package.
var Layers = [][]string{
	0: {"lifecycle", "failure", "internal/..."},
	1: {"resilience", "scale", "balance", "admission", "idempotency", "idempotency/idempotencytest"},
	2: {
		"registry", "registry/driver", "registry/registrytest", "registry/memregistry",
		"config", "config/driver", "config/configtest", "config/memconfig", "policy",
		"lock", "lock/driver", "lock/locktest", "lock/memlock", "lock/guard", "lock/guard/etcdguard",
		"queue", "queue/driver", "queue/queuetest", "queue/memqueue", "queue/inbox",
		"replica/internal/core",
	},
	3: {"rpc", "rest", "platform/system", "policy/policystore", "replica", "replica/internal/...", "replica/kv", "replica/shard", "queue/outbox"},
	4: {
		".", "platform/control", "platform/supervise", "platform/embed", "platform/edge",
		"platform/agent", "platform/breakage", "platform/netns", "platform/wallclock", "platform/autoscale", "platform/kubernetes", "platform/sight", "telemetry",
		"registry/etcdregistry", "registry/staticregistry", "registry/consulregistry", "rest/ginrest", "rest/echorest",
		"config/etcdconfig", "config/fileconfig", "config/consulconfig", "idempotency/etcdidempotency",
		"lock/etcdlock", "lock/consullock", "lock/replicalock",
		"queue/natsqueue", "queue/kafkaqueue", "queue/rabbitqueue", "queue/outbox/sqlstore", "queue/outbox/outboxtest", "queue/inbox/inboxtest", "queue/inbox/sqlinbox", "queue/inbox/etcdinbox", "queue/inbox/kvinbox",
	},
	5: {"platform/console", "drivers", "drill", "drill/inject", "drill/load", "drill/check", "drill/report"},
	6: {"cmd/...", "examples/...", "bench/...", "docs/..."},
}

// Siblings lists what a package may import of its own layer: within a family the contract stands above its driver
// package, and the suites and memory drivers stand beside it.
var Siblings = map[string][]string{
	".":                  {"registry/etcdregistry", "registry/staticregistry", "config/etcdconfig", "config/fileconfig", "lock/etcdlock", "lock/replicalock", "queue/natsqueue", "telemetry"},
	"drill":              {"drill/inject", "drill/load", "drill/check", "drill/report"},
	"drill/report":       {"drill/check", "drill/load"},
	"drill/check":        {"drill/load"},
	"platform/breakage":  {"platform/control"},
	"platform/edge":      {"telemetry"},
	"platform/sight":     {"platform/control"},
	"platform/autoscale": {"platform/control", "platform/agent"},
	"replica": {
		"rpc", "replica/internal/core", "replica/internal/disk", "replica/internal/found", "replica/internal/replicapb",
		"replica/internal/snap", "replica/internal/transport", "replica/internal/wal",
		"replica/shard", // its tests alone: shard's own tests in virtual time stand beside those of the hosts
	},
	"replica/internal/core":          {"replica/internal/replicapb", "replica/internal/disk", "replica/internal/snap", "replica/internal/wal"},
	"replica/internal/found":         {"rpc", "replica/internal/disk", "replica/internal/replicapb"},
	"replica/internal/sim":           {"replica/internal/core", "replica/internal/disk", "replica/internal/replicapb", "replica/internal/snap", "replica/internal/wal"},
	"replica/internal/sim/schedules": {"replica/internal/sim"},
	"replica/internal/snap":          {"replica/internal/disk"},
	"replica/internal/transport":     {"rpc", "replica/internal/replicapb", "replica/internal/disk", "replica/internal/snap"},
	"replica/internal/wal":           {"replica/internal/disk"},
	"replica/kv":                     {"replica"},
	"replica/shard":                  {"replica"},
	"queue/natsqueue":                {"platform/embed"}, // its tests alone: against what the platform runs
	"resilience":                     {"balance"},
	"admission":                      {"resilience"},
	"config":                         {"config/driver"},
	"idempotency/idempotencytest":    {"idempotency"},
	"config/memconfig":               {"config", "config/driver"},
	"config/configtest":              {"config", "config/driver"},
	"lock":                           {"lock/driver"},
	"lock/memlock":                   {"lock", "lock/driver"},
	"lock/locktest":                  {"lock", "lock/driver"},
	"lock/guard":                     {"lock"},
	"lock/guard/etcdguard":           {"lock/guard"},
	"queue":                          {"queue/driver"},
	"queue/inbox":                    {"queue", "queue/driver"},
	"queue/inbox/etcdinbox":          {"idempotency/etcdidempotency"}, // its tests alone
	"queue/outbox/sqlstore":          {"queue/inbox/sqlinbox"},        // its example alone
	"queue/memqueue":                 {"queue", "queue/driver"},
	"queue/queuetest":                {"queue", "queue/driver"},
	"registry":                       {"registry/driver"},
	"registry/memregistry":           {"registry", "registry/driver"},
	"registry/registrytest":          {"registry", "registry/driver"},
}

// Violation is one import that the layers do not allow, or one package that stands in no layer.
type Violation struct {
	File    string // path below the checked root
	Import  string // path below the module; empty when the package itself has no layer
	Message string
}

func (v Violation) String() string { return v.File + ": " + v.Message }

// Check reads every Go file below root and returns what the layers do not allow, in file order.
func Check(root fs.FS) ([]Violation, error) {
	var out []Violation
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != "." && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin" || base == "tools") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		v, err := checkFile(name, src)
		out = append(out, v...)
		return err
	})
	return out, err
}

func checkFile(name string, src []byte) ([]Violation, error) {
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	pkg := path.Dir(name)
	layer, ok := LayerOf(pkg)
	if !ok {
		return []Violation{{File: name, Message: fmt.Sprintf("package %q stands in no layer: add it to internal/arch", pkg)}}, nil
	}
	var out []Violation
	for _, spec := range f.Imports {
		full, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("parse %s: import %s: %w", name, spec.Path.Value, err)
		}
		target, ours := below(full)
		if !ours || allowed(pkg, layer, target, strings.HasSuffix(name, "_test.go")) {
			continue
		}
		to, _ := LayerOf(target)
		out = append(out, Violation{File: name, Import: target, Message: fmt.Sprintf("layer %d (%s) may not import layer %d (%s)", layer, pkg, to, target)})
	}
	return out, nil
}

// below returns path without the module's prefix, and whether it had it.
func below(full string) (string, bool) {
	if full == Module {
		return ".", true
	}
	return strings.CutPrefix(full, Module+"/")
}

// LayerOf returns the layer of a package, given as its path below the module.
func LayerOf(pkg string) (layer int, ok bool) {
	best := -1
	for i, patterns := range Layers {
		for _, p := range patterns {
			prefix, tree := strings.CutSuffix(p, "/...")
			if (pkg == prefix || tree && strings.HasPrefix(pkg, prefix+"/")) && len(p) > best {
				best, layer, ok = len(p), i, true
			}
		}
	}
	return layer, ok
}

func allowed(pkg string, layer int, target string, test bool) bool {
	if pkg == target { // an external test package imports what it tests
		return true
	}
	to, ok := LayerOf(target)
	if !ok {
		return false
	}
	if internalTo := strings.HasPrefix(target, "internal/"); internalTo {
		return true
	}
	if test && (strings.HasSuffix(target, "test") || path.Base(target) == "memregistry" || path.Base(target) == "memconfig" || path.Base(target) == "memlock" || path.Base(target) == "memqueue") {
		return true
	}
	if to < layer {
		return true
	}
	if to > layer {
		return false
	}
	// Programs are trees of their own: one may use what stands below it, never another program; what several of a kind
	// share is in an internal directory beside them.
	if layer == len(Layers)-1 {
		return tree(pkg) == tree(target) || path.Base(tree(target)) == "internal"
	}
	return slices.Contains(Siblings[pkg], target)
}

// tree returns the first two elements of a path: "examples/shop" of "examples/shop/cart".
func tree(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	return strings.Join(parts[:min(2, len(parts))], "/")
}
