package policy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// MaxServices is the largest number of services that ParseAll and Load accept.
const MaxServices = 1000

const maxName = 128

// ValidName reports whether s can be the name of a service: 1 to 128 letters, digits, '-', '_' and '.', the first no dot.
func ValidName(s string) bool {
	if s == "" || len(s) > maxName || s[0] == '.' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) < 0
}

// ParseAll decodes a document of several services: a mapping of their names to what Parse reads. The error, if any, is a
// Problems.
func ParseAll(name string, b []byte) (map[string]Service, error) {
	p := &strictyaml.Parser{File: name}
	out := make(map[string]Service)
	p.Parse(b, MaxBytes*16, "it maps the names of services to their policies", "a file has all services in one", func(n *yaml.Node) {
		p.Pairs(n, "the policies", func(key, value *yaml.Node) {
			switch {
			case !ValidName(key.Value):
				p.Problem(key, "%s is no name of a service", strictyaml.Quote(key.Value))
			case len(out) >= MaxServices:
				p.Problem(key, "more than %d services", MaxServices)
			default:
				out[key.Value] = Decode(p, value)
			}
		})
	})
	if problems := p.Problems(); problems != nil {
		return nil, problems
	}
	return out, nil
}

// Load reads the policies at path: of a file what ParseAll reads, of a directory what Parse reads of each NAME.yaml,
// NAME.yml and NAME.json, where NAME is the service's. Other files there are left alone. If it is the content that is
// wrong, the error is a Problems, with what is wrong in all files.
func Load(path string) (map[string]Service, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	if !info.IsDir() {
		b, err := read(path, MaxBytes*16)
		if err != nil {
			return nil, fmt.Errorf("load policies: %w", err)
		}
		return ParseAll(path, b)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("load policies: %w", err)
	}
	out := make(map[string]Service)
	from := make(map[string]string)
	var p strictyaml.Parser
	for _, entry := range entries {
		file := filepath.Join(path, entry.Name())
		ext := filepath.Ext(file)
		name := strings.TrimSuffix(entry.Name(), ext)
		if ext != ".yaml" && ext != ".yml" && ext != ".json" || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		p.File = file
		switch {
		case !ValidName(name):
			p.Problem(nil, "%s is no name of a service", strictyaml.Quote(name))
			continue
		case from[name] != "":
			p.Problem(nil, "the policy of %s is in %s already", name, from[name])
			continue
		case len(from) >= MaxServices:
			return nil, fmt.Errorf("load policies: more than %d files in %s", MaxServices, path)
		}
		from[name] = entry.Name()
		b, err := read(file, MaxBytes)
		if err != nil {
			return nil, fmt.Errorf("load policies: %w", err)
		}
		s, err := Parse(file, b)
		var problems Problems
		if errors.As(err, &problems) {
			p.Add(problems)
		}
		out[name] = s
	}
	if problems := p.Problems(); problems != nil {
		return nil, problems
	}
	return out, nil
}

// read reads one byte more than is allowed at most, so that the parser sees that it is too much.
func read(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}
