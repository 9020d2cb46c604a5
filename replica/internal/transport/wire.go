package transport

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// Address is what a message goes by: the group, the cluster, and the IDs of two of its members.
type Address struct {
	Group, Cluster, From, To uint64
}

const (
	// headerBytes are before each message in a frame: an Address and the length of what follows.
	headerBytes = 4*8 + 4
	// frameBytes is what a frame is closed at; a larger message has one of its own.
	frameBytes = 256 << 10
	// maxMessage bounds a message, and what rpc receives.
	maxMessage = 64 << 20
)

var (
	errTruncated = errors.New("truncated")
	errTooLarge  = fmt.Errorf("more than %d bytes", maxMessage)
)

// appendMessage appends a message to a frame. After an error b is as it was.
func appendMessage(b []byte, a Address, body encoding.BinaryAppender) ([]byte, error) {
	start := len(b)
	out := appendAddress(b, a)
	out = append(out, 0, 0, 0, 0)
	out, err := body.AppendBinary(out)
	if err != nil {
		return b, err
	}
	n := len(out) - start - headerBytes
	if n > maxMessage-headerBytes {
		return b, errTooLarge
	}
	binary.LittleEndian.PutUint32(out[start+headerBytes-4:], uint32(n)) //nolint:gosec // at most maxMessage
	return out, nil
}

func appendAddress(b []byte, a Address) []byte {
	for _, v := range [...]uint64{a.Group, a.Cluster, a.From, a.To} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

func parseAddress(b []byte) Address {
	return Address{
		Group: binary.LittleEndian.Uint64(b), Cluster: binary.LittleEndian.Uint64(b[8:]),
		From: binary.LittleEndian.Uint64(b[16:]), To: binary.LittleEndian.Uint64(b[24:]),
	}
}

// parseFrame calls each for the messages of a frame, whose bodies are parts of b. After an error the rest is not to be
// believed.
func parseFrame(b []byte, each func(Address, []byte)) error {
	for len(b) > 0 {
		if len(b) < headerBytes {
			return fmt.Errorf("frame: header: %w", errTruncated)
		}
		a := parseAddress(b)
		n := uint64(binary.LittleEndian.Uint32(b[headerBytes-4:]))
		b = b[headerBytes:]
		if n > uint64(len(b)) {
			return fmt.Errorf("frame: message of %d bytes: %w", n, errTruncated)
		}
		each(a, b[:n:n])
		b = b[n:]
	}
	return nil
}

// packet is bytes as a message of gRPC.
type packet struct {
	out mem.Buffer // to send; given away
	in  []byte     // received; the receiver's
}

// codec is how packets are sent as they are. The rest (health checks) is protobuf, as elsewhere.
type codec struct{}

// Name implements encoding.CodecV2.
func (codec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *packet:
		return mem.BufferSlice{m.out}, nil
	case proto.Message:
		b, err := proto.Marshal(m)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("marshal %T: not a protobuf message", v)
}

// Unmarshal implements encoding.CodecV2.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	switch m := v.(type) {
	case *packet:
		m.in = data.Materialize()
		return nil
	case proto.Message:
		return proto.Unmarshal(data.Materialize(), m)
	}
	return fmt.Errorf("unmarshal %T: not a protobuf message", v)
}
