package replica

import (
	"google.golang.org/grpc"

	"github.com/holdfast-go/holdfast/replica/internal/disk"
)

// NewHostOn is NewHost on a file system and a network of the test's.
func NewHostOn(cfg Config, fs disk.FS, dial ...grpc.DialOption) (*Host, error) {
	return newHost(cfg, seams{fs: fs, dial: dial})
}
