package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"
)

// product is a small HTTP service behind the library's tenant middleware.
type product struct {
	parts
	app    *fiber.App
	base   string
	caller *http.Client
	stop   func()

	lock sync.Mutex
	seen []string
}

// identity is what a request sees of its own database session.
type identity struct {
	Login    string `json:"login"`
	Role     string `json:"role"`
	Database string `json:"database"`
	Schema   string `json:"schema"`
	// Limit is the most connections of the pool; 0 is unlimited.
	Limit int `json:"limit"`
}

// refusal is the middleware's answer when a tenant cannot be served.
type refusal struct {
	Status  int
	Code    string `json:"code"`
	Title   string `json:"title"`
	Message string `json:"message"`
}

func (r refusal) Error() string {
	return fmt.Sprintf("%d %s %s: %s", r.Status, r.Code, r.Title, r.Message)
}

// newProduct starts a product; with events it also listens.
func newProduct(ctx context.Context, w *world, lib library, s settings, events bool) (*product, error) {
	s.url, s.key = w.manager.url, w.manager.key
	made, err := lib.product(s)
	if err != nil {
		return nil, err
	}
	p := &product{
		parts:  made,
		app:    fiber.New(fiber.Config{DisableStartupMessage: true}),
		caller: &http.Client{Timeout: time.Minute},
		stop:   func() {},
	}
	failed := func(c *fiber.Ctx, err error) error {
		return c.Status(http.StatusInternalServerError).JSON(refusal{Code: "QUERY", Message: err.Error()})
	}
	p.app.Use(made.middleware)
	p.app.Get("/identity", func(c *fiber.Ctx) error {
		var seen identity
		db := made.database(c.UserContext(), c.Query("module"))
		err := db.QueryRowContext(c.UserContext(),
			"SELECT session_user, current_user, current_database(), coalesce(current_schema(), '')").
			Scan(&seen.Login, &seen.Role, &seen.Database, &seen.Schema)
		if err != nil {
			return failed(c, err)
		}
		seen.Limit = db.Stats().MaxOpenConnections
		return c.JSON(seen)
	})
	p.app.Post("/rows", func(c *fiber.Ctx) error {
		db := made.database(c.UserContext(), c.Query("module"))
		if _, err := db.ExecContext(c.UserContext(), "CREATE TABLE IF NOT EXISTS rows (body text)"); err != nil {
			return failed(c, err)
		}
		if _, err := db.ExecContext(c.UserContext(), "INSERT INTO rows VALUES ($1)", c.Query("body")); err != nil {
			return failed(c, err)
		}
		return c.SendStatus(http.StatusNoContent)
	})
	p.app.Get("/rows", func(c *fiber.Ctx) error {
		db := made.database(c.UserContext(), c.Query("module"))
		rows, err := db.QueryContext(c.UserContext(), "SELECT body FROM rows ORDER BY body")
		if err != nil {
			return failed(c, err)
		}
		defer rows.Close()
		bodies := []string{}
		for rows.Next() {
			var body string
			if err := rows.Scan(&body); err != nil {
				return failed(c, err)
			}
			bodies = append(bodies, body)
		}
		if err := rows.Err(); err != nil {
			return failed(c, err)
		}
		return c.JSON(bodies)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p.base = "http://" + listener.Addr().String()
	go func() { _ = p.app.Listener(listener) }()
	if !events {
		return p, nil
	}
	if err := p.subscribe(ctx, w.redis); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// subscribe starts the listener and waits until Redis counts one subscriber more.
func (p *product) subscribe(ctx context.Context, address redisAddress) error {
	observer := redis.NewClient(&redis.Options{
		Addr: net.JoinHostPort(address.host, address.port), Password: address.password,
	})
	defer observer.Close()
	const channel = "tenant-events:production:"
	subscribers := func() (int64, error) {
		exact, err := observer.PubSubNumSub(ctx, channel).Result()
		if err != nil {
			return 0, err
		}
		patterns, err := observer.PubSubNumPat(ctx).Result()
		return exact[channel] + patterns, err
	}
	before, err := subscribers()
	if err != nil {
		return err
	}
	stop, err := p.listen(ctx, address, func(kind, tenant string) {
		p.lock.Lock()
		defer p.lock.Unlock()
		p.seen = append(p.seen, kind+" "+tenant)
	})
	if err != nil {
		return err
	}
	p.stop = stop
	return until(ctx, "a subscription", func() error {
		now, err := subscribers()
		if err == nil && now <= before {
			err = fmt.Errorf("%d subscribers", now)
		}
		return err
	})
}

// heard waits until an event about a tenant was acted upon.
func (p *product) heard(ctx context.Context, kind, tenant string) error {
	return until(ctx, kind+" for "+tenant, func() error {
		p.lock.Lock()
		defer p.lock.Unlock()
		if !slices.Contains(p.seen, kind+" "+tenant) {
			return fmt.Errorf("heard %v", p.seen)
		}
		return nil
	})
}

// end stops the product.
func (p *product) end() {
	p.stop()
	_ = p.app.ShutdownWithTimeout(time.Second)
	p.close()
}

// token makes a token as the Access Manager does, with a tenant id in a spelling of choice. The
// middleware reads it without looking at the signature: the Access Manager has done that before.
func token(tenant string) string {
	claims := jwt.MapClaims{
		"tenantId": tenant, "sub": "ada", "owner": "aurora", "type": "normal-user",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte("nobody checks this"))
	if err != nil {
		panic(err)
	}
	return text
}

// request calls the product as a tenant.
func (p *product) request(ctx context.Context, method, path, tenant string, query url.Values, answer any) error {
	request, err := http.NewRequestWithContext(ctx, method, p.base+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token(tenant))
	response, err := p.caller.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		refused := refusal{Status: response.StatusCode}
		if json.Unmarshal(body, &refused) != nil {
			refused.Message = string(body)
		}
		return refused
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(body, answer)
}

// identity returns who a tenant's requests are to the database.
func (p *product) identity(ctx context.Context, tenant, module string) (identity, error) {
	var seen identity
	err := p.request(ctx, http.MethodGet, "/identity", tenant, url.Values{"module": {module}}, &seen)
	return seen, err
}

// refused fails unless a tenant's requests are refused with a status and code.
func (p *product) refused(ctx context.Context, tenant, module string, status int, code string) error {
	_, err := p.identity(ctx, tenant, module)
	var got refusal
	if !errors.As(err, &got) || got.Status != status || got.Code != code {
		return fmt.Errorf("a request that must be refused with %d %s: %w", status, code, orNone(err))
	}
	return nil
}

func orNone(err error) error {
	if err == nil {
		return errors.New("it was served")
	}
	return err
}
