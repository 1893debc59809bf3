package main

import (
	"context"
	"errors"
	"slices"
	"time"

	tmclient "github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/client"
	"github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/core"
	"github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/event"
	"github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/middleware"
	tmpostgres "github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/postgres"
	tmredis "github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/redis"
	"github.com/LerianStudio/lib-commons/v4/commons/tenant-manager/tenantcache"
	"github.com/bxcodec/dbresolver/v2"
)

// libraryV4 is what Midaz 3.6 is built with: it listens to every environment.
type libraryV4 struct{}

func (libraryV4) name() string { return "v4" }

type clientV4 struct{ inner *tmclient.Client }

func (libraryV4) client(s settings) (client, error) { return newClientV4(s) }

func newClientV4(s settings) (*clientV4, error) {
	options := []tmclient.ClientOption{
		tmclient.WithServiceAPIKey(s.key),
		// This version's dispatcher leaves the client's own cache alone: a product makes its pools
		// again from what is in there until it has expired, whatever it heard.
		tmclient.WithCacheTTL(time.Millisecond),
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
	return &clientV4{inner: inner}, nil
}

func (c *clientV4) close() { _ = c.inner.Close() }

func (c *clientV4) configuration(ctx context.Context, tenant, service string) (configuration, error) {
	got, err := c.inner.GetTenantConfig(ctx, tenant, service, tmclient.WithSkipCache())
	if err != nil {
		return configuration{}, err
	}
	return configurationV4(got), nil
}

func configurationV4(got *core.TenantConfig) configuration {
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

func (c *clientV4) active(ctx context.Context, service string) ([]row, error) {
	rows, err := c.inner.GetActiveTenantsByService(ctx, service)
	result := make([]row, 0, len(rows))
	for _, r := range rows {
		result = append(result, row{id: r.ID, name: r.Name, status: r.Status})
	}
	return result, err
}

func (c *clientV4) metadata(context.Context, string) (map[string]string, error) {
	return nil, errors.New("this version reads no metadata")
}

func (c *clientV4) outcome(err error) outcome {
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

func (libraryV4) product(s settings) (parts, error) {
	c, err := newClientV4(s)
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
