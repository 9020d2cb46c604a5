package policy

import "reflect"

// Overlay returns base with what over says: every field of over that is not its zero value wins, in structs field by
// field, in maps key by key. It is how a policy from a document goes over the one from code. Neither argument is
// changed; the result may share with both what it refers to.
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
		out := reflect.New(base.Type()).Elem()
		out.Set(base)
		for i := range over.NumField() {
			if !over.Type().Field(i).IsExported() { // only of a type that is opaque as a whole
				return over
			}
			out.Field(i).Set(overlay(base.Field(i), over.Field(i)))
		}
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
