package etcdlock

import (
	"encoding/json"
	"strconv"

	"github.com/holdfast-go/holdfast/lock/driver"
)

// maxRecord bounds what is read as a holder's record: twice what package lock writes, each byte of it escaped.
const maxRecord = 128 << 10

// record is the value of a holder's key.
type record struct {
	Token uint64 `json:"token"`
	Name  string `json:"name,omitempty"`
	Value string `json:"value,omitempty"`
}

func encodeHolder(h driver.Holder) (string, error) {
	b, err := json.Marshal(record{Token: h.Token, Name: h.Name, Value: h.Value})
	return string(b), err
}

// decodeHolder reads what somebody may have written by hand: what cannot be read is nobody.
func decodeHolder(b []byte) driver.Holder {
	var r record
	if len(b) > maxRecord || json.Unmarshal(b, &r) != nil || r.Token == 0 {
		return driver.Holder{}
	}
	return driver.Holder{Name: r.Name, Value: r.Value, Token: r.Token}
}

// decodeToken reads the record of a bucket. One that cannot be read counts as none: the clock is the floor then, as it is
// after a loss of all.
func decodeToken(b []byte) uint64 {
	token, err := strconv.ParseUint(string(b), 10, 63)
	if err != nil {
		return 0
	}
	return token
}
