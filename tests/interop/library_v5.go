package main

import (
	"context"
	"errors"
	"slices"

	tmclient "github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/client"
	"github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/core"
	"github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/event"
	"github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/middleware"
	tmpostgres "github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/postgres"
	tmredis "github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/redis"
	"github.com/LerianStudio/lib-commons/v5/commons/tenant-manager/tenantcache"
	"github.com/bxcodec/dbresolver/v2"
)

// libraryV5 is what Midaz, Tracer and Fetcher are built with.
type libraryV5 struct{}

func (libraryV5) name() string { return "v5" }

type clientV5 struct{ inner *tmclient.Client }

func (libraryV5) client(s settings) (client, error) { return newClientV5(s) }

func newClientV5(s settings) (*clientV5, error) {
	options := []tmclient.ClientOption{
		tmclient.WithServiceAPIKey(s.key),
	}
	if !s.secure {
		options = append(options, tmclient.WithAllowInsecureHTTP())
	}
	if s.breaker > 0 {
		options = append(options, tmclient.WithCircuitBreaker(s.breaker, s.breakerTimeout))
	}
	inner, err := tmclient.NewClient(s.url, nil, options...)
	if err != nil {
		return nil, err
	}
	return &clientV5{inner: inner}, nil
}

func (c *clientV5) close() { _ = c.inner.Close() }

func (c *clientV5) configuration(ctx context.Context, tenant, service string) (configuration, error) {
	got, err := c.inner.GetTenantConfig(ctx, tenant, service, tmclient.WithSkipCache())
	if err != nil {
		return configuration{}, err
	}
	return configurationV5(got), nil
}

func configurationV5(got *core.TenantConfig) configuration {
	result := configuration{
		id: got.ID, slug: got.TenantSlug, name: got.TenantName, service: got.Service, status: got.Status,
		isolated: got.IsIsolatedMode(), schema: got.IsSchemaMode(),
		databases: map[string]database{},
	}
	if got.ConnectionSettings != nil {
		result.maxOpenConns = got.ConnectionSettings.MaxOpenConns
	}
	modules := []string{""}
	for module := range got.Databases {
		modules = append(modules, module)
	}
	for _, module := range modules {
		if pg := got.GetPostgreSQLConfig(got.Service, module); pg != nil {
			result.databases[module] = database{
				host: pg.Host, port: pg.Port, name: pg.Database, user: pg.Username,
				password: pg.Password, schema: pg.Schema,
			}
		}
	}
	return result
}

func (c *clientV5) active(ctx context.Context, service string) ([]row, error) {
	rows, err := c.inner.GetActiveTenantsByService(ctx, service)
	result := make([]row, 0, len(rows))
	for _, r := range rows {
		result = append(result, row{id: r.ID, name: r.Name, status: r.Status})
	}
	return result, err
}

func (c *clientV5) metadata(ctx context.Context, tenant string) (map[string]string, error) {
	return c.inner.GetTenantMetadata(ctx, tenant)
}

func (c *clientV5) outcome(err error) outcome {
	switch {
	case err == nil:
		return fine
	case core.IsCircuitBreakerOpenError(err):
		return breakerOpen
	case core.IsTenantPurgedError(err):
		return purged
	case core.IsTenantSuspendedError(err):
		return suspended
	case errors.Is(err, core.ErrTenantServiceAccessDenied):
		return denied
	case errors.Is(err, core.ErrTenantNotFound):
		return notFound
	default:
		return opaque
	}
}

func (libraryV5) product(s settings) (parts, error) {
	c, err := newClientV5(s)
	if err != nil {
		return parts{}, err
	}
	cache := tenantcache.NewTenantCache()
	loader := tenantcache.NewTenantLoader(c.inner, cache, s.service, 0, nil)
	options := []middleware.TenantMiddlewareOption{
		middleware.WithTenantCache(cache), middleware.WithTenantLoader(loader),
	}
	dispatch := []event.DispatcherOption{}
	var managers []*tmpostgres.Manager
	for _, module := range s.modules {
		manager := tmpostgres.NewManager(c.inner, s.service,
			tmpostgres.WithModule(module), tmpostgres.WithConnectionsCheckInterval(s.revalidation))
		managers = append(managers, manager)
		if module == "" {
			options = append(options, middleware.WithPG(manager))
		} else {
			options = append(options, middleware.WithPG(manager, module))
		}
		// The dispatcher takes one manager; the ledger closes its others by this callback.
		dispatch = []event.DispatcherOption{
			event.WithPostgres(manager),
			event.WithOnTenantRemoved(func(ctx context.Context, tenant string) {
				for _, other := range managers {
					_ = other.CloseConnection(ctx, tenant)
				}
			}),
		}
	}
	dispatcher := event.NewEventDispatcher(cache, loader, s.service, dispatch...)
	return parts{
		client:     c,
		middleware: middleware.NewTenantMiddleware(options...).WithTenantDB,
		database: func(ctx context.Context, module string) dbresolver.DB {
			if module == "" {
				return core.GetPGContext(ctx)
			}
			return core.GetPGContext(ctx, module)
		},
		pools: func() []string {
			var all []string
			for _, manager := range managers {
				all = append(all, manager.ConnectedTenantIDs()...)
			}
			slices.Sort(all)
			return all
		},
		cached: cache.TenantIDs,
		listen: func(ctx context.Context, address redisAddress, seen func(kind, tenant string)) (func(), error) {
			redis, err := tmredis.NewTenantPubSubRedisClient(ctx, tmredis.TenantPubSubRedisConfig{
				Host: address.host, Port: address.port, Password: address.password,
			})
			if err != nil {
				return nil, err
			}
			handle := func(ctx context.Context, e event.TenantLifecycleEvent) error {
				err := dispatcher.HandleEvent(ctx, e)
				if err != nil {
					seen("error: "+err.Error(), e.TenantID)
				}
				seen(e.EventType, e.TenantID)
				return err
			}
			listener, err := event.NewTenantEventListener(redis, handle, event.WithService(s.service))
			if err != nil {
				return nil, err
			}
			if err := listener.Start(context.Background()); err != nil {
				return nil, err
			}
			return func() {
				_ = listener.Stop()
				_ = redis.Close()
			}, nil
		},
		close: func() {
			for _, manager := range managers {
				_ = manager.Close(context.Background())
			}
			c.close()
		},
	}, nil
}
