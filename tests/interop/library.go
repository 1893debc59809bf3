package main

import (
	"context"
	"time"

	"github.com/bxcodec/dbresolver/v2"
	"github.com/gofiber/fiber/v2"
)

// redisAddress says where events are published.
type redisAddress struct{ host, port, password string }

// outcome is what a product concludes from an answer of the Tenant Manager.
type outcome string

// What a product can conclude.
const (
	fine        outcome = "fine"
	notFound    outcome = "not found"
	suspended   outcome = "suspended"
	purged      outcome = "purged"
	denied      outcome = "denied"
	breakerOpen outcome = "breaker open"
	opaque      outcome = "opaque"
)

// database is a PostgreSQL object of a tenant's configuration.
type database struct {
	host, name, user, password, schema string
	port                               int
}

// configuration is a tenant's configuration as the library understood it.
type configuration struct {
	id, slug, name, service, status string
	isolated, schema                bool
	// Databases by module, as the library selects them; "" is what a product without modules gets.
	databases map[string]database
	// maxOpenConns of the top level.
	maxOpenConns int
}

// row is one of the active tenants.
type row struct{ id, name, status string }

// settings of a client and of the product around it.
type settings struct {
	url, key string
	// secure refuses plain http, as the library does unless a product opts out.
	secure bool
	// breaker opens after so many failures, for so long; 0 is never.
	breaker        int
	breakerTimeout time.Duration
	// revalidation is how old the check of a pool in use may be.
	revalidation time.Duration
	service      string
	modules      []string
}

// library is one major version of the official library.
type library interface {
	name() string
	client(settings) (client, error)
	product(settings) (parts, error)
}

// client is the library's Tenant Manager client.
type client interface {
	configuration(ctx context.Context, tenant, service string) (configuration, error)
	active(ctx context.Context, service string) ([]row, error)
	metadata(ctx context.Context, tenant string) (map[string]string, error)
	outcome(error) outcome
	close()
}

// parts are what a product makes of the library.
type parts struct {
	client     client
	middleware fiber.Handler
	// database returns what the middleware resolved for a module; "" without modules.
	database func(ctx context.Context, module string) dbresolver.DB
	// pools returns the tenants that have a pool, one entry a module and tenant.
	pools func() []string
	// cached returns the tenants that the product knows.
	cached func() []string
	// listen starts the listener with the dispatcher behind it; seen is called after an event was
	// acted upon.
	listen func(ctx context.Context, address redisAddress, seen func(kind, tenant string)) (stop func(), err error)
	close  func()
}
