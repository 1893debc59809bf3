package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// libraryCase runs against every version of the library, or since one.
type libraryCase struct {
	name  string
	since string
	body  func(context.Context, *world, library) error
}

var libraryCases = []libraryCase{
	{"connections", "", connectionsCase},
	{"a key of its own", "", keyCase},
	{"active tenants", "", activeCase},
	{"metadata", "v5", metadataCase},
	{"principals", "", principalsCase},
	{"canonical ids", "", canonicalCase},
	{"routing with a database per tenant", "", routingDatabaseCase},
	{"routing with a schema per tenant", "", routingSchemaCase},
	{"association reaches a product", "", associationCase},
	{"eviction on suspend", "", evictionCase},
	{"removal of a service", "", removalCase},
	{"rotation under load", "", rotationCase},
	{"rotation without events", "", rotationSilentCase},
	{"pool settings by event", "", settingsCase},
	{"reload on invalidate", "v5", invalidateCase},
	{"invalidate is harmless", "", invalidateHarmlessCase},
	{"breaker", "", breakerCase},
}

func plain(w *world, lib library) (client, error) {
	return lib.client(settings{url: w.manager.url, key: w.manager.key})
}

// concludes fails unless the library's client draws a conclusion from the connections answer.
func concludes(ctx context.Context, c client, id, service string, want outcome) error {
	_, err := c.configuration(ctx, id, service)
	if got := c.outcome(err); got != want {
		return fmt.Errorf("%s of %s: concluded %q, not %q: %w", service, id, got, want, orNone(err))
	}
	return nil
}

func connectionsCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	c, err := plain(w, lib)
	if err != nil {
		return err
	}
	defer c.close()
	t, err := m.with(ctx, "connections", "ledger", "database")
	if err != nil {
		return err
	}
	got, err := c.configuration(ctx, t.id, "ledger")
	if err != nil {
		return err
	}
	onboarding, transaction := got.databases["onboarding"], got.databases["transaction"]
	problems := []error{
		expect("id", got.id, t.id), expect("slug", got.slug, t.slug),
		expect("service", got.service, "ledger"), expect("isolated", got.isolated, true),
		expect("schema mode", got.schema, false),
		expect("what a product without modules gets", got.databases[""], onboarding),
	}
	if onboarding.name == "" || onboarding.password == "" || onboarding.port == 0 {
		problems = append(problems, errors.New("onboarding has no credentials"))
	}
	if onboarding.name == transaction.name || onboarding.user == transaction.user {
		problems = append(problems, errors.New("modules share a database or a login"))
	}
	problems = append(problems,
		concludes(ctx, c, t.id, "tracer", notFound),
		concludes(ctx, c, t.id, "no/such service", notFound),
		concludes(ctx, c, "00000000000040008000000000000000", "ledger", notFound),
		concludes(ctx, c, "not-a-uuid", "ledger", notFound),
		m.change(ctx, http.MethodPost, t.path("/suspend"), map[string]any{}),
		concludes(ctx, c, t.id, "ledger", suspended),
		m.change(ctx, http.MethodPost, t.path("/reactivate"), map[string]any{}),
		concludes(ctx, c, t.id, "ledger", fine),
		m.change(ctx, http.MethodPost, t.path("/services/ledger/suspend"), map[string]any{}),
		concludes(ctx, c, t.id, "ledger", suspended),
	)
	purge := m.change(ctx, http.MethodPost, t.path("/purge"), map[string]any{})
	problems = append(problems, purge, concludes(ctx, c, t.id, "ledger", purged))

	// A wrong key must be told apart from a tenant that is not served: products alarm on one and
	// refuse on the other.
	wrong, err := lib.client(settings{url: m.url, key: "not the key"})
	if err != nil {
		return err
	}
	defer wrong.close()
	problems = append(problems, concludes(ctx, wrong, t.id, "ledger", opaque))
	if _, err := lib.client(settings{url: m.url}); err == nil {
		problems = append(problems, errors.New("a client without a key was made"))
	}
	return errors.Join(problems...)
}

// A product's key reads its own service; whatever else is asked with it must not look like a
// suspension, at which the library would close pools.
func keyCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	t, err := m.with(ctx, "key", "tracer", "database")
	if err != nil {
		return err
	}
	if err := m.associate(ctx, t, "ledger"); err != nil {
		return err
	}
	name := m.slug("key-" + lib.name())
	var made, next struct {
		Key string `json:"key"`
	}
	body := map[string]any{"name": name, "role": "service", "services": []string{"tracer"}}
	if _, err := m.call(ctx, http.MethodPost, "/v1/admin/keys", body, &made); err != nil {
		return err
	}
	with := func(key, service string, want ...outcome) error {
		c, err := lib.client(settings{url: m.url, key: key})
		if err != nil {
			return err
		}
		defer c.close()
		_, err = c.configuration(ctx, t.id, service)
		if !slices.Contains(want, c.outcome(err)) {
			return fmt.Errorf("%s: concluded %q, not one of %q: %w", service, c.outcome(err), want, orNone(err))
		}
		return nil
	}
	problems := []error{
		with(made.Key, "tracer", fine),
		with(made.Key, "ledger", denied, opaque),
	}
	_, err = m.call(ctx, http.MethodPost, "/v1/admin/keys/"+name+"/rotate", map[string]any{}, &next)
	problems = append(problems, err,
		with(made.Key, "tracer", fine),
		with(next.Key, "tracer", fine))
	_, err = m.call(ctx, http.MethodPost, "/v1/admin/keys/"+name+"/revoke", map[string]any{}, nil)
	problems = append(problems, err, with(next.Key, "tracer", opaque))
	return errors.Join(problems...)
}

// Products find the Tenant Manager's authority among those of their system.
func tlsCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	// Before the client is made: version 4 copies Go's default transport, which offers HTTP/2 from
	// its first use on.
	t, err := m.with(ctx, "tls", "tracer", "database")
	if err != nil {
		return err
	}
	c, err := lib.client(settings{url: m.url, key: m.key, secure: true})
	if err != nil {
		return err
	}
	defer c.close()
	var group sync.WaitGroup
	answers := make(chan error, 64)
	// Many at once: the library once had trouble with one shared connection.
	for range cap(answers) {
		group.Go(func() {
			got, err := c.configuration(ctx, t.id, "tracer")
			answers <- errors.Join(err, expect("id", got.id, t.id))
		})
	}
	group.Wait()
	close(answers)
	for err := range answers {
		if err != nil {
			return err
		}
	}
	plain := strings.Replace(m.url, "https://", "http://", 1)
	if _, err := lib.client(settings{url: plain, key: m.key, secure: true}); err == nil {
		return errors.New("a client for plain http was made without opting out")
	}
	return expect("scheme", strings.HasPrefix(m.url, "https://"), true)
}

func activeCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	c, err := plain(w, lib)
	if err != nil {
		return err
	}
	defer c.close()
	t, err := m.with(ctx, "active", "tracer", "database")
	if err != nil {
		return err
	}
	listed := func() (*row, error) {
		rows, err := c.active(ctx, "tracer")
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(rows, func(r row) bool { return r.id == t.id })
		if at < 0 {
			return nil, nil
		}
		return &rows[at], nil
	}
	seen, err := listed()
	if err != nil {
		return err
	}
	if seen == nil || seen.status != "active" || seen.name != "Banco "+t.slug {
		return fmt.Errorf("an active tenant is listed as %v", seen)
	}
	if err := m.change(ctx, http.MethodPost, t.path("/services/tracer/suspend"), map[string]any{}); err != nil {
		return err
	}
	if seen, err = listed(); err != nil || seen != nil {
		return fmt.Errorf("a suspended tenant is listed as %v: %w", seen, err)
	}
	rows, err := c.active(ctx, "no such service")
	if c.outcome(err) != fine && c.outcome(err) != opaque {
		return fmt.Errorf("an unknown service: %w", err)
	}
	return expect("tenants of an unknown service", len(rows), 0)
}

func metadataCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	c, err := plain(w, lib)
	if err != nil {
		return err
	}
	defer c.close()
	t, err := m.tenant(ctx, "metadata")
	if err != nil {
		return err
	}
	got, err := c.metadata(ctx, t.dashed())
	if err != nil {
		return err
	}
	_, lost := c.metadata(ctx, "00000000000040008000000000000000")
	return errors.Join(
		expect("origin", got["origin"], "self-serve"),
		expect("midaz_org_id", got["midaz_org_id"], t.slug),
		expect("an unknown tenant", c.outcome(lost), opaque),
	)
}

func canonicalCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	c, err := plain(w, lib)
	if err != nil {
		return err
	}
	defer c.close()
	t, err := m.with(ctx, "canonical", "tracer", "database")
	if err != nil {
		return err
	}
	first, err := c.configuration(ctx, t.id, "tracer")
	if err != nil {
		return err
	}
	var problems []error
	for _, spelling := range []string{t.dashed(), strings.ToUpper(t.dashed()), strings.ToUpper(t.id)} {
		got, err := c.configuration(ctx, spelling, "tracer")
		problems = append(problems, err, expect("id for "+spelling, got.id, t.id),
			expect("database for "+spelling, got.databases[""], first.databases[""]))
	}
	// A request with either spelling in its token reaches the same rows.
	p, err := newProduct(ctx, w, lib, settings{service: "tracer", modules: []string{""}}, false)
	if err != nil {
		return err
	}
	defer p.end()
	var rows []string
	problems = append(problems,
		p.request(ctx, http.MethodPost, "/rows", t.dashed(), url.Values{"body": {"one"}}, nil),
		p.request(ctx, http.MethodGet, "/rows", t.id, nil, &rows),
		expect("rows", strings.Join(rows, ","), "one"),
	)
	return errors.Join(problems...)
}

// routing writes as two tenants in turn and looks whether each sees its own rows alone.
func routing(ctx context.Context, w *world, lib library, service, mode string, modules []string) error {
	var tenants []tenant
	for range 2 {
		t, err := w.manager.with(ctx, "routing", service, mode)
		if err != nil {
			return err
		}
		tenants = append(tenants, t)
	}
	p, err := newProduct(ctx, w, lib, settings{service: service, modules: modules}, false)
	if err != nil {
		return err
	}
	defer p.end()
	var group sync.WaitGroup
	failures := make(chan error, 1000)
	for at := range 2 * 8 {
		t := tenants[at%2]
		group.Go(func() {
			for _, module := range modules {
				body := fmt.Sprintf("%s %s %02d", t.slug, module, at)
				failures <- p.request(ctx, http.MethodPost, "/rows", t.id,
					url.Values{"module": {module}, "body": {body}}, nil)
			}
		})
		if at < 2 {
			group.Wait() // The tables are made one after the other.
		}
	}
	group.Wait()
	close(failures)
	for err := range failures {
		if err != nil {
			return err
		}
	}
	seen := map[identity]string{}
	var problems []error
	for _, t := range tenants {
		for _, module := range modules {
			var rows []string
			err := p.request(ctx, http.MethodGet, "/rows", t.id, url.Values{"module": {module}}, &rows)
			problems = append(problems, err, expect("rows of "+t.slug, len(rows), 8))
			for _, body := range rows {
				if !strings.HasPrefix(body, t.slug+" "+module+" ") {
					problems = append(problems, fmt.Errorf("%s %s sees %q", t.slug, module, body))
				}
			}
			who, err := p.identity(ctx, t.id, module)
			problems = append(problems, err)
			if other, twice := seen[who]; twice {
				problems = append(problems, fmt.Errorf("%s and %s are both %+v", t.slug, other, who))
			}
			seen[who] = t.slug
			if mode == "schema" && (who.Schema == "public" || who.Schema == "") {
				problems = append(problems, fmt.Errorf("%s works in schema %q", t.slug, who.Schema))
			}
		}
	}
	problems = append(problems,
		expect("pools", len(p.pools()), 2*len(modules)),
		p.refused(ctx, "00000000000040008000000000000000", modules[0], 404, "TENANT_NOT_FOUND"))
	return errors.Join(problems...)
}

func routingDatabaseCase(ctx context.Context, w *world, lib library) error {
	return errors.Join(
		routing(ctx, w, lib, "ledger", "database", []string{"onboarding", "transaction"}),
		routing(ctx, w, lib, "tracer", "database", []string{""}),
	)
}

func routingSchemaCase(ctx context.Context, w *world, lib library) error {
	return routing(ctx, w, lib, "ledger", "schema", []string{"onboarding", "transaction"})
}

// ledger is how the ledger uses the library, with events.
var ledger = settings{service: "ledger", modules: []string{"onboarding", "transaction"}, revalidation: time.Hour}

// served makes both modules' pools for a tenant.
func served(ctx context.Context, p *product, tenants ...tenant) error {
	for _, t := range tenants {
		for _, module := range []string{"onboarding", "transaction"} {
			if _, err := p.identity(ctx, t.id, module); err != nil {
				return err
			}
		}
	}
	return nil
}

func pooled(p *product, t tenant) int {
	count := 0
	for _, id := range p.pools() {
		if id == t.id {
			count++
		}
	}
	return count
}

func associationCase(ctx context.Context, w *world, lib library) error {
	p, err := newProduct(ctx, w, lib, ledger, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := w.manager.with(ctx, "associated", "ledger", "database")
	if err != nil {
		return err
	}
	if err := p.heard(ctx, "tenant.service.associated", t.id); err != nil {
		return err
	}
	// The event alone made the tenant known, under the id that tokens carry.
	return errors.Join(
		expect("known by its event", slices.Contains(p.cached(), t.id), true),
		served(ctx, p, t),
	)
}

func evictionCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	p, err := newProduct(ctx, w, lib, ledger, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "evicted", "ledger", "database")
	if err != nil {
		return err
	}
	other, err := m.with(ctx, "stays", "ledger", "database")
	if err != nil {
		return err
	}
	evicted := func() error {
		return until(ctx, "pools are closed", func() error { return expect("pools", pooled(p, t), 0) })
	}
	for _, step := range []func() error{
		func() error { return served(ctx, p, t, other) },
		func() error { return expect("pools", pooled(p, t), 2) },
		// One service of the tenant.
		func() error {
			return m.change(ctx, http.MethodPost, t.path("/services/ledger/suspend"), map[string]any{})
		},
		evicted,
		func() error { return p.refused(ctx, t.id, "onboarding", 403, "0131") },
		func() error { return expect("pools of the other tenant", pooled(p, other), 2) },
		func() error { return served(ctx, p, other) },
		func() error {
			return m.change(ctx, http.MethodPost, t.path("/services/ledger/reactivate"), map[string]any{})
		},
		func() error { return p.heard(ctx, "tenant.service.reactivated", t.id) },
		func() error { return served(ctx, p, t) },
		// The whole tenant, and back by the call of the contract.
		func() error { return m.change(ctx, http.MethodPost, t.path("/suspend"), map[string]any{}) },
		evicted,
		func() error { return p.refused(ctx, t.id, "transaction", 403, "0131") },
		func() error {
			_, err := m.call(ctx, http.MethodPut, "/v1/tenants/"+t.id+"/reactivate", nil, nil)
			return err
		},
		func() error { return served(ctx, p, t) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func removalCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	p, err := newProduct(ctx, w, lib, ledger, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "removed", "ledger", "database")
	if err != nil {
		return err
	}
	if err := served(ctx, p, t); err != nil {
		return err
	}
	if err := m.change(ctx, http.MethodPost, t.path("/services/ledger/remove"), map[string]any{}); err != nil {
		return err
	}
	if err := p.heard(ctx, "tenant.service.disassociated", t.id); err != nil {
		return err
	}
	return errors.Join(
		expect("pools", pooled(p, t), 0),
		// Not 404, at which a product that missed the event would keep its pools.
		p.refused(ctx, t.id, "onboarding", 403, "0131"),
	)
}

// load sends requests of a tenant from some workers until it is stopped.
type load struct {
	cancel   context.CancelFunc
	group    sync.WaitGroup
	served   atomic.Int64
	closing  atomic.Int64
	lock     sync.Mutex
	failures []error
	logins   map[string]int
}

func startLoad(ctx context.Context, p *product, t tenant, module string) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, logins: map[string]int{}}
	for range 4 {
		l.group.Go(func() {
			for ctx.Err() == nil {
				who, err := p.identity(context.WithoutCancel(ctx), t.id, module)
				var refused refusal
				switch {
				case err == nil:
					l.served.Add(1)
					l.lock.Lock()
					l.logins[who.Login]++
					l.lock.Unlock()
				case errors.As(err, &refused) && strings.Contains(refused.Message, "database is closed"):
					// The library closes a pool between handing it to a request and the request's
					// query. No answer of a Tenant Manager can prevent that.
					l.closing.Add(1)
				default:
					l.lock.Lock()
					l.failures = append(l.failures, err)
					l.lock.Unlock()
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	return l
}

// seen waits until requests were served under so many logins.
func (l *load) seen(ctx context.Context, logins int) error {
	return until(ctx, fmt.Sprintf("requests under %d logins", logins), func() error {
		l.lock.Lock()
		defer l.lock.Unlock()
		return expect("logins", len(l.logins), logins)
	})
}

// end stops the load; it fails when a request has.
func (l *load) end(w *world, rotations int64) error {
	l.cancel()
	l.group.Wait()
	w.note("%d requests served, %d met a pool that the library was closing", l.served.Load(), l.closing.Load())
	if len(l.failures) > 0 {
		return fmt.Errorf("%d requests failed, the first: %w", len(l.failures), l.failures[0])
	}
	// Each worker can meet each closing once per pool.
	if l.closing.Load() > rotations*8 {
		return fmt.Errorf("%d requests met a closing pool", l.closing.Load())
	}
	return nil
}

func rotationCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	p, err := newProduct(ctx, w, lib, ledger, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "rotated", "ledger", "database")
	if err != nil {
		return err
	}
	if err := served(ctx, p, t); err != nil {
		return err
	}
	l := startLoad(ctx, p, t, "onboarding")
	problems := []error{
		l.seen(ctx, 1),
		m.change(ctx, http.MethodPost, t.path("/rotate"), map[string]any{}),
		l.seen(ctx, 2),
		p.heard(ctx, "tenant.credentials.rotated", t.id),
	}
	return errors.Join(append(problems, l.end(w, 1))...)
}

// A lost event: the library finds new credentials when it next checks a pool in use.
func rotationSilentCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	quick := ledger
	quick.revalidation = 100 * time.Millisecond
	// Each module checks for itself, so two pools need not be closed at the same instant.
	quick.modules = []string{"transaction"}
	p, err := newProduct(ctx, w, lib, quick, false)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "silent", "ledger", "database")
	if err != nil {
		return err
	}
	l := startLoad(ctx, p, t, "transaction")
	problems := []error{
		l.seen(ctx, 1),
		m.change(ctx, http.MethodPost, t.path("/rotate"), map[string]any{}),
		l.seen(ctx, 2),
		l.end(w, 1),
		// A suspension is found in the same way: the answer that refuses names the state.
		m.change(ctx, http.MethodPost, t.path("/suspend"), map[string]any{}),
	}
	// The library makes a pool again from what it has in memory, and closes it at its next check.
	problems = append(problems, until(ctx, "pools are closed", func() error {
		if pooled(p, t) == 0 {
			return nil
		}
		_, _ = p.identity(ctx, t.id, "transaction")
		return errors.New("a pool is open")
	}))
	return errors.Join(problems...)
}

func settingsCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	tracer := settings{service: "tracer", modules: []string{""}, revalidation: time.Hour}
	p, err := newProduct(ctx, w, lib, tracer, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "settings", "tracer", "database")
	if err != nil {
		return err
	}
	if _, err := p.identity(ctx, t.id, ""); err != nil {
		return err
	}
	body := map[string]any{"connectionSettings": map[string]any{"maxOpenConns": 3, "maxIdleConns": 1}}
	if err := m.change(ctx, http.MethodPatch, t.path(""), body); err != nil {
		return err
	}
	if err := p.heard(ctx, "tenant.connections.updated", t.id); err != nil {
		return err
	}
	// The event alone has changed the pool that is in use.
	who, whoErr := p.identity(ctx, t.id, "")
	got, err := p.client.configuration(ctx, t.id, "tracer")
	return errors.Join(whoErr, expect("limit of the pool", who.Limit, 3),
		err, expect("maxOpenConns", got.maxOpenConns, 3))
}

func invalidateCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	p, err := newProduct(ctx, w, lib, ledger, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "invalidated", "ledger", "database")
	if err != nil {
		return err
	}
	if err := served(ctx, p, t); err != nil {
		return err
	}
	body := map[string]any{"reason": "a test"}
	if err := m.change(ctx, http.MethodPost, t.path("/invalidate"), body); err != nil {
		return err
	}
	return errors.Join(
		p.heard(ctx, "tenant.cache.invalidate", t.id),
		// Evicted, then loaded again without a request.
		expect("pools", pooled(p, t), 0),
		expect("known again", slices.Contains(p.cached(), t.id), true),
		served(ctx, p, t),
	)
}

// Versions that do not know the event must not be disturbed by it.
func invalidateHarmlessCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	p, err := newProduct(ctx, w, lib, ledger, true)
	if err != nil {
		return err
	}
	defer p.end()
	t, err := m.with(ctx, "harmless", "ledger", "database")
	if err != nil {
		return err
	}
	if err := served(ctx, p, t); err != nil {
		return err
	}
	if err := m.change(ctx, http.MethodPost, t.path("/invalidate"), map[string]any{}); err != nil {
		return err
	}
	return errors.Join(p.heard(ctx, "tenant.cache.invalidate", t.id), served(ctx, p, t))
}

// principalsCase leads the library's question for connections to the principals of the same
// association: the version that asks for those understands the status of both with one function.
func principalsCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	target, err := url.Parse(m.url)
	if err != nil {
		return err
	}
	var asked atomic.Int64
	server := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if path, ok := strings.CutSuffix(r.Out.URL.Path, "/connections"); ok {
			r.Out.URL.Path, r.Out.URL.RawPath = path+"/principals", ""
			asked.Add(1)
		}
	}})
	defer server.Close()
	const failures = 3
	c, err := lib.client(settings{
		url: server.URL, key: m.key, breaker: failures, breakerTimeout: time.Minute,
	})
	if err != nil {
		return err
	}
	defer c.close()
	t, err := m.with(ctx, "principals", "tracer", "schema")
	if err != nil {
		return err
	}
	// An error that says nothing of the tenant, however often: the breaker is for all tenants.
	for range 3 * failures {
		if err := concludes(ctx, c, t.id, "tracer", opaque); err != nil {
			return err
		}
	}
	return errors.Join(
		expect("questions", asked.Load(), 3*failures),
		concludes(ctx, c, "00000000000040008000000000000000", "tracer", notFound),
	)
}

func breakerCase(ctx context.Context, w *world, lib library) error {
	m := w.manager
	s := ledger
	s.breaker, s.breakerTimeout, s.revalidation = 5, time.Second, 100*time.Millisecond
	p, err := newProduct(ctx, w, lib, s, false)
	if err != nil {
		return err
	}
	defer p.end()
	warm, err := m.with(ctx, "warm", "ledger", "database")
	if err != nil {
		return err
	}
	cold, err := m.with(ctx, "cold", "ledger", "database")
	if err != nil {
		return err
	}
	if err := served(ctx, p, warm); err != nil {
		return err
	}
	// Refusals are answers: they open no breaker.
	for range 2 * s.breaker {
		if err := p.refused(ctx, "00000000000040008000000000000000", "onboarding", 404, "TENANT_NOT_FOUND"); err != nil {
			return err
		}
	}
	if err := w.ask("stop"); err != nil {
		return err
	}
	down := errors.Join(
		until(ctx, "the breaker opens", func() error {
			return p.refused(ctx, cold.id, "onboarding", 503, "SERVICE_UNAVAILABLE")
		}),
		// What is known goes on.
		served(ctx, p, warm),
	)
	if err := w.ask("start"); err != nil {
		return errors.Join(down, err)
	}
	return errors.Join(
		down,
		until(ctx, "the breaker closes", func() error { return served(ctx, p, cold) }),
		served(ctx, p, warm),
	)
}
