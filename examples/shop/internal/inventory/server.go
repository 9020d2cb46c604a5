// Package inventory is the service that counts what is left and sets some of it aside for orders.
//
// Its state is a [Ledger], replicated over its instances: every change is a command that all of them apply in one order,
// so nothing is sold twice, and what was answered survives any of them. What customers are shown is read from the
// instance's own copy: at once and always, and possibly a little old.
package inventory

import (
	"context"
	"maps"
	"slices"

	"github.com/holdfast-go/holdfast/examples/shop/gen/inventorypb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
)

// maxStockProducts bounds a GetStock.
const maxStockProducts = 200

// Server implements the Inventory service.
type Server struct {
	inventorypb.UnimplementedInventoryServer
	store Store
}

// NewServer returns the service.
func NewServer(store Store) *Server { return &Server{store: store} }

// GetStock implements inventorypb.InventoryServer.
func (s *Server) GetStock(ctx context.Context, req *inventorypb.GetStockRequest) (*inventorypb.GetStockResponse, error) {
	var check shop.Check
	if !check.That(len(req.GetProducts()) <= maxStockProducts, "products", "must be at most %d", maxStockProducts) {
		return nil, check.Err()
	}
	return &inventorypb.GetStockResponse{Available: s.store.Shown(ctx, req.GetProducts())}, nil
}

// Reserve implements inventorypb.InventoryServer.
func (s *Server) Reserve(ctx context.Context, req *inventorypb.ReserveRequest) (*inventorypb.ReserveResponse, error) {
	var check shop.Check
	check.ID("order", req.GetOrder())
	if check.Items("lines", len(req.GetLines())) {
		checkLines(&check, req.GetLines())
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	lines := make([]Line, len(req.GetLines()))
	for i, line := range req.GetLines() {
		lines[i] = Line{line.GetProduct(), line.GetQuantity()}
	}
	if err := s.store.Reserve(ctx, req.GetOrder(), lines); err != nil {
		return nil, err
	}
	return &inventorypb.ReserveResponse{}, nil
}

// Commit implements inventorypb.InventoryServer.
func (s *Server) Commit(ctx context.Context, req *inventorypb.CommitRequest) (*inventorypb.CommitResponse, error) {
	var check shop.Check
	if check.ID("order", req.GetOrder()); check.Err() != nil {
		return nil, check.Err()
	}
	if err := s.store.Commit(ctx, req.GetOrder()); err != nil {
		return nil, err
	}
	return &inventorypb.CommitResponse{}, nil
}

// Release implements inventorypb.InventoryServer.
func (s *Server) Release(ctx context.Context, req *inventorypb.ReleaseRequest) (*inventorypb.ReleaseResponse, error) {
	var check shop.Check
	if check.ID("order", req.GetOrder()); check.Err() != nil {
		return nil, check.Err()
	}
	if err := s.store.Release(ctx, req.GetOrder()); err != nil {
		return nil, err
	}
	return &inventorypb.ReleaseResponse{}, nil
}

// Audit implements inventorypb.InventoryServer.
func (s *Server) Audit(ctx context.Context, _ *inventorypb.AuditRequest) (*inventorypb.AuditResponse, error) {
	a, err := s.store.Audit(ctx)
	if err != nil {
		return nil, err
	}
	resp := &inventorypb.AuditResponse{
		OpenReservations:      int64(a.Reservations[Open]),
		CommittedReservations: int64(a.Reservations[Committed]),
		ReleasedReservations:  int64(a.Reservations[Released]),
	}
	for _, product := range slices.Sorted(maps.Keys(a.Products)) {
		c := a.Products[product]
		resp.Products = append(resp.Products, &inventorypb.ProductAudit{
			Product: product, Initial: c.Initial, Available: c.Available, Reserved: c.Reserved, Sold: c.Sold,
		})
	}
	return resp, nil
}

func checkLines(check *shop.Check, lines []*inventorypb.Line) {
	seen := make(map[string]bool, len(lines))
	for i, line := range lines {
		check.ID(shop.ItemField("lines", i, "product"), line.GetProduct())
		check.That(!seen[line.GetProduct()], shop.ItemField("lines", i, "product"), "is in the list twice")
		seen[line.GetProduct()] = true
		check.That(line.GetQuantity() >= 1 && line.GetQuantity() <= shop.MaxQuantity, shop.ItemField("lines", i, "quantity"), "must be 1 to %d", shop.MaxQuantity)
	}
}
