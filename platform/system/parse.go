package system

import (
	"go.yaml.in/yaml/v3"

	"github.com/holdfast-go/holdfast/internal/strictyaml"
)

// Parse decodes and validates a system file. The name is only used in messages. The error, if any, is a Problems with
// all that is wrong.
func Parse(name string, b []byte) (*System, error) {
	p := &parser{Parser: strictyaml.Parser{File: name}}
	p.parse(b)
	return p.result()
}

// parser collects a system and its problems. It goes on after each problem, so that all are found at once.
type parser struct {
	strictyaml.Parser
	sys System

	// Beside sys.Services: where each one's name, run, http and needs are.
	names, runs, addrs []*yaml.Node
	needs              [][]*yaml.Node

	lags []*yaml.Node // targets of autoscale that are on messages

	policies string                // file or directory, as written; "" for none
	at       map[string]*yaml.Node // where policies are: by service, and "" for policies
}

func (p *parser) parse(b []byte) {
	p.Parse(b, MaxBytes, "it starts with system: NAME", "a file describes one system", p.system)
}

func (p *parser) result() (*System, error) {
	if problems := p.Problems(); problems != nil {
		return nil, problems
	}
	return &p.sys, nil
}
