//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/config"
	configdriver "github.com/holdfast-go/holdfast/config/driver"
	"github.com/holdfast-go/holdfast/drivers"
	"github.com/holdfast-go/holdfast/internal/diskfile"
	"github.com/holdfast-go/holdfast/lifecycle"
	"github.com/holdfast-go/holdfast/policy"
	"github.com/holdfast-go/holdfast/policy/policystore"
	"github.com/holdfast-go/holdfast/rest"
)

// policies are those of the system: for the services in a directory, and for the edges in force here.
type policies struct {
	dir      string // "" if the system file has none
	url      string // of the live settings; "" if there are none
	live     *policy.Live
	follower *policystore.Follower
	driver   configdriver.Store // nil without live settings
	store    *config.Store
}

// openPolicies writes the policies of the system file where the services find them, and opens the live ones for the
// edges, without calling their engine. The services open them for themselves.
func (h *Host) openPolicies() error {
	p := &h.policies
	if len(h.sys.Policies) > 0 {
		p.dir = filepath.Join(h.cfg.Data, "policies")
		if err := writePolicies(p.dir, h.sys.Policies); err != nil {
			return fmt.Errorf("write the policies for the services: %w", err)
		}
	}
	p.live = policy.NewLive(nil)
	p.follower = policystore.New(p.live, h.sys.Policies, checkPolicy)
	p.url = configURL(h.cfg.Env, h.url)
	if p.url == "" {
		return nil
	}
	d, err := holdfast.OpenLive(p.url, h.insecure(), drivers.All()...)
	if err != nil && variable(h.cfg.Env, "HOLDFAST_CONFIG") != "" {
		return err
	}
	if err != nil { // a registry that keeps no settings
		h.cfg.Logger.Info("no live settings", "error", err)
		p.url = ""
		return nil
	}
	p.driver = d
	p.store = config.New(d, config.Config{CacheDir: filepath.Join(h.cfg.Data, "config"), Logger: h.cfg.Logger})
	return nil
}

// checkPolicy says why a policy cannot be applied by an edge, which would otherwise go on with half of what is in force.
func checkPolicy(_ string, p policy.Service) error {
	return rest.ClientConfig{Policy: p.Calls.Policy, Balance: p.Calls.Balance, Methods: p.Calls.Methods}.Validate()
}

// component follows the live policies; nil without live settings.
func (p *policies) component() lifecycle.Component {
	if p.store == nil {
		return nil
	}
	return lifecycle.Named("policies", lifecycle.Func(func(ctx context.Context) error { return p.follower.Run(ctx, p.store) }))
}

func (p *policies) close() error {
	var errs []error
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	if p.driver != nil {
		errs = append(errs, p.driver.Close())
	}
	return errors.Join(errs...)
}

// configURL is where the live settings of the services are, "" for nowhere.
func configURL(env []string, registry string) string {
	switch url := variable(env, "HOLDFAST_CONFIG"); url {
	case "":
		return holdfast.ConfigURL(registry)
	case "none":
		return ""
	default:
		return url
	}
}

// variable returns the value of a variable, the last if there are several.
func variable(env []string, key string) string {
	for _, kv := range slices.Backward(env) {
		if v, ok := strings.CutPrefix(kv, key+"="); ok {
			return v
		}
	}
	return ""
}

// writePolicies makes dir hold these policies and no others.
func writePolicies(dir string, of map[string]policy.Service) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for name, p := range of {
		if err := diskfile.Replace(filepath.Join(dir, name+".yaml"), policy.Marshal(p)); err != nil {
			return err
		}
	}
	return nil
}
