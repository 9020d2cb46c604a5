package catalog

import (
	"context"
	"fmt"

	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/shop"
)

const (
	defaultLimit = 24
	maxLimit     = 100
	maxQuery     = 100 // bytes
	maxOffset    = 1_000_000
)

// Server implements the Catalog service on a Shelf.
type Server struct {
	catalogpb.UnimplementedCatalogServer
	shelf *Shelf
}

// NewServer returns the service.
func NewServer(shelf *Shelf) *Server { return &Server{shelf: shelf} }

// Search implements catalogpb.CatalogServer.
func (s *Server) Search(_ context.Context, req *catalogpb.SearchRequest) (*catalogpb.SearchResponse, error) {
	var check shop.Check
	check.That(len(req.GetQuery()) <= maxQuery, "query", "must have at most %d bytes", maxQuery)
	check.That(req.GetLimit() >= 0 && req.GetLimit() <= maxLimit, "limit", "must be 1 to %d", maxLimit)
	check.That(req.GetOffset() >= 0 && req.GetOffset() <= maxOffset, "offset", "must be 0 to %d", maxOffset)
	if err := check.Err(); err != nil {
		return nil, err
	}
	limit := int(req.GetLimit())
	if limit == 0 {
		limit = defaultLimit
	}
	all := s.shelf.Products()
	found := search(all, req.GetQuery(), req.GetCategory())
	resp := &catalogpb.SearchResponse{Total: int32(len(found)), Categories: s.categories(all)}
	from := min(int(req.GetOffset()), len(found))
	for _, p := range found[from:min(from+limit, len(found))] {
		resp.Products = append(resp.Products, s.product(p))
	}
	return resp, nil
}

// Get implements catalogpb.CatalogServer.
func (s *Server) Get(_ context.Context, req *catalogpb.GetRequest) (*catalogpb.GetResponse, error) {
	var check shop.Check
	check.That(len(req.GetIds()) >= 1 && len(req.GetIds()) <= maxLimit, "ids", "must be 1 to %d", maxLimit)
	for i, id := range req.GetIds()[:min(len(req.GetIds()), maxLimit)] {
		check.ID(fmt.Sprintf("ids[%d]", i), id)
	}
	if err := check.Err(); err != nil {
		return nil, err
	}
	resp := &catalogpb.GetResponse{}
	for _, id := range req.GetIds() {
		if p, ok := s.shelf.Product(id); ok {
			resp.Products = append(resp.Products, s.product(p))
		}
	}
	return resp, nil
}

func (s *Server) product(p assortment.Product) *catalogpb.Product {
	return &catalogpb.Product{
		Id: p.ID, Name: p.Name, Category: p.Category, Description: p.Description, Motif: p.Motif,
		Price: &catalogpb.Money{Currency: s.shelf.Currency(), Minor: p.Price},
	}
}

func (s *Server) categories(products []assortment.Product) []*catalogpb.Category {
	counts := make(map[string]int32)
	for _, p := range products {
		counts[p.Category]++
	}
	var out []*catalogpb.Category
	for _, c := range s.shelf.Categories() {
		out = append(out, &catalogpb.Category{Id: c.ID, Name: c.Name, Products: counts[c.ID]})
	}
	return out
}
