package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// yaml is the object as a YAML document. What is empty and what the cluster writes (status) is left out.
func (o Object) yaml() ([]byte, error) {
	b, err := json.Marshal(o.Value)
	if err != nil {
		return nil, fmt.Errorf("write %T: %w", o.Value, err)
	}
	var doc yaml.Node // JSON is YAML, and as a tree it keeps the order of the fields
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("write %T: %w", o.Value, err)
	}
	root := doc.Content[0]
	tidy(root)
	drop(root, "status")
	first(root, "kind")
	first(root, "apiVersion")
	for path, comment := range o.Fields {
		if key := find(root, strings.Split(path, ".")); key != nil {
			key.HeadComment = comment
		}
	}
	doc.HeadComment = o.Comment
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("write %T: %w", o.Value, err)
	}
	return out.Bytes(), enc.Close()
}

// older are strings that are something else for YAML 1.1, by which Kubernetes reads: a bool, or a number to the base of 60.
var older = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false)$|^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?$`)

// tidy makes blocks of what was JSON, and drops null.
func tidy(n *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		n.Style = 0
		var kept []*yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if value.ShortTag() == "!!null" {
				continue
			}
			tidy(key)
			tidy(value)
			kept = append(kept, key, value)
		}
		if n.Content = kept; len(kept) == 0 {
			n.Style = yaml.FlowStyle
		}
	case yaml.SequenceNode:
		n.Style = 0
		for _, item := range n.Content {
			tidy(item)
		}
	case yaml.ScalarNode:
		n.Style = 0
		switch {
		case n.ShortTag() != "!!str":
		case older.MatchString(n.Value):
			n.Style = yaml.DoubleQuotedStyle
		case !strings.Contains(n.Value, "\n"):
		case strings.TrimLeft(n.Value, " \t\n") == n.Value:
			n.Style = yaml.LiteralStyle
		default: // a block whose indentation would have to be guessed
			n.Style = yaml.DoubleQuotedStyle
		}
	case yaml.DocumentNode, yaml.AliasNode: // JSON has none
	}
}

// at is the index of a key in a mapping, -1 if it is not there.
func at(n *yaml.Node, key string) int {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return i
		}
	}
	return -1
}

func drop(n *yaml.Node, key string) {
	if i := at(n, key); i >= 0 {
		n.Content = append(n.Content[:i], n.Content[i+2:]...)
	}
}

// first moves a key to the front.
func first(n *yaml.Node, key string) {
	i := at(n, key)
	if i < 0 {
		return
	}
	pair := []*yaml.Node{n.Content[i], n.Content[i+1]}
	drop(n, key)
	n.Content = append(pair, n.Content...)
}

// find returns the key at a path of mappings, where a number is an item of a list; nil if it is not there.
func find(n *yaml.Node, path []string) *yaml.Node {
	var key *yaml.Node
	for _, name := range path {
		if n.Kind == yaml.SequenceNode {
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i < 0 || i >= len(n.Content) {
				return nil
			}
			n = n.Content[i]
			continue
		}
		i := at(n, name)
		if i < 0 {
			return nil
		}
		key, n = n.Content[i], n.Content[i+1]
	}
	return key
}
