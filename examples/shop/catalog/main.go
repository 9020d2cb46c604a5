// Command catalog is the shop's catalogue: gRPC for the other services, REST on Echo for the people who run the shop.
package main

import (
	"log"

	"github.com/holdfast-go/holdfast"
	"github.com/holdfast-go/holdfast/examples/shop/gen/catalogpb"
	"github.com/holdfast-go/holdfast/examples/shop/internal/assortment"
	"github.com/holdfast-go/holdfast/examples/shop/internal/catalog"
	"github.com/holdfast-go/holdfast/examples/shop/internal/kv"
)

func main() {
	svc := holdfast.New("catalog")
	products, err := assortment.Load()
	if err != nil {
		log.Fatal(err)
	}
	db, err := kv.OpenEtcd(svc.Settings().EtcdEndpoints, svc.Dialer())
	if err != nil {
		log.Fatal(err)
	}
	changes := kv.OpenView[catalog.Change](db, catalog.Prefix, kv.CopyIn(svc.Settings().DataDir, "catalog"), svc.Logger())
	shelf := catalog.NewShelf(products, catalog.NewStore(db, changes))

	svc.Go("changes", changes.Run)
	catalogpb.RegisterCatalogServer(svc, catalog.NewServer(shelf))
	svc.Handle("/", catalog.NewAdmin(shelf))
	holdfast.Main(svc)
}
