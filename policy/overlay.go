package policy

import "reflect"

// Overlay returns base with what over says: every field of over that is not its zero value wins, in structs and in what
// pointers to structs refer to field by field, in maps key by key. What is off in base, by a field named Off, is on again
// where over says anything else of it: there is no other way for a source to take back a lower one's off. It is how a
// policy from a document goes over the one from code. Neither argument is changed; the result may share with both what
// it refers to.
func Overlay[T any](base, over T) T {
	v := reflect.ValueOf(&base).Elem()
	v.Set(overlay(v, reflect.ValueOf(over)))
	return base
}

func overlay(base, over reflect.Value) reflect.Value {
	if !over.IsValid() || over.IsZero() {
		return base
	}
	switch over.Kind() { //nolint:exhaustive // everything else is replaced as a whole
	case reflect.Struct:
		if opaque(over.Type()) {
			return over
		}
		out := reflect.New(base.Type()).Elem()
		for i := range over.NumField() {
			if f := over.Type().Field(i); f.Name == "Off" && f.Type.Kind() == reflect.Bool {
				out.Field(i).Set(over.Field(i)) // over is not zero: it says something
				continue
			}
			out.Field(i).Set(overlay(base.Field(i), over.Field(i)))
		}
		return out
	case reflect.Pointer:
		of := over.Type().Elem()
		if base.IsNil() || of.Kind() != reflect.Struct || opaque(of) {
			return over
		}
		out := reflect.New(of)
		out.Elem().Set(overlay(base.Elem(), over.Elem()))
		return out
	case reflect.Map:
		out := reflect.MakeMapWithSize(over.Type(), base.Len()+over.Len())
		for _, m := range []reflect.Value{base, over} {
			for it := m.MapRange(); it.Next(); {
				value := it.Value()
				if had := out.MapIndex(it.Key()); had.IsValid() {
					value = overlay(had, value)
				}
				out.SetMapIndex(it.Key(), value)
			}
		}
		return out
	}
	return over
}

// opaque reports whether a struct is one value to others, and is not to be taken apart.
func opaque(t reflect.Type) bool {
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return true
		}
	}
	return false
}
