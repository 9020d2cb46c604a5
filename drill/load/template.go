package load

import "math/rand/v2"

// Template is a text with parts that are filled in:
//
//	{{uuid}}            a random UUID
//	{{int 1 500}}       a number from 1 to 500, each as likely
//	{{zipf 1 500}}      a number from 1 to 500, small ones far more often: what is popular
//	{{pick a "b c" 3}}  one of them
//	{{text 100}}        so many random letters, at most 65536
//	{{seq}}             0, 1, 2, …: the number of the call
//	{{.name}}           a variable
//
// What comes of one is at most 1 MiB.
type Template struct {
	parts []any
}

// Compile reads a template. The error says what is wrong with it and is INVALID_ARGUMENT.
func Compile(text string) (Template, error) { return Template{}, nil }

// Names returns the variables that the template uses.
func (t Template) Names() []string { return nil }

// Draw is what a template draws from.
type Draw struct {
	Rand *rand.Rand
	Seq  int64
}

// Fill fills a template in. Variables that are not there are empty.
func (t Template) Fill(d Draw, vars Values) Value { return Value{} }
