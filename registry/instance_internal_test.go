package registry

import "testing"

func TestAnUnspecifiedEndpointIsNotAnnounced(t *testing.T) {
	for addr, fine := range map[string]bool{
		"10.0.0.1:1": true, "[fd00::1]:1": true, "host:1": true, "0.0.0.0:1": false, "[::]:1": false, "[::ffff:0.0.0.0]:1": false,
	} {
		err := Validate(Instance{Service: "a", ID: "a-1", Endpoints: map[string]string{"http": addr}})
		if (err == nil) != fine {
			t.Errorf("%s: %v", addr, err)
		}
	}
}
