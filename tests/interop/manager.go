package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// manager calls the Tenant Manager as its operators and Lerian's provisioning service do.
type manager struct {
	url string
	key string
	// bearer is sent along when it is set, as by a service that was given an account.
	bearer string
	client *http.Client
	next   atomic.Int64
	run    int64
}

func newManager(url, key string) *manager {
	return &manager{
		url:    url,
		key:    key,
		client: &http.Client{Timeout: 30 * time.Second},
		run:    time.Now().UnixNano() % 1_000_000_000,
	}
}

// slug returns a handle that no other case uses.
func (m *manager) slug(prefix string) string {
	return fmt.Sprintf("%s-%d-%d", prefix, m.run, m.next.Add(1))
}

// call sends a request and decodes the answer's body into answer unless it is nil.
func (m *manager) call(ctx context.Context, method, path string, body, answer any) (int, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, err
		}
		reader = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, m.url+path, reader)
	if err != nil {
		return 0, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("X-API-Key", m.key)
	if m.bearer != "" {
		request.Header.Set("Authorization", "Bearer "+m.bearer)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := m.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 10<<20))
	if err != nil {
		return response.StatusCode, err
	}
	if answer != nil && len(text) > 0 {
		if err := json.Unmarshal(text, answer); err != nil {
			return response.StatusCode, fmt.Errorf("%s %s: %d %s: %w", method, path, response.StatusCode, text, err)
		}
	}
	if response.StatusCode >= 300 {
		return response.StatusCode, fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, text)
	}
	return response.StatusCode, nil
}

// operation is the part of an operation's record that is looked at.
type operation struct {
	ID    string          `json:"id"`
	State string          `json:"state"`
	Error json.RawMessage `json:"error"`
}

// change is the answer to a change.
type change struct {
	Operation operation `json:"operation"`
}

// change makes a change through the extensions and waits until its operation has succeeded.
func (m *manager) change(ctx context.Context, method, path string, body any) error {
	var made change
	if _, err := m.call(ctx, method, path, body, &made); err != nil {
		return err
	}
	if made.Operation.ID == "" {
		return nil
	}
	return until(ctx, method+" "+path, func() error {
		var seen operation
		if _, err := m.call(ctx, http.MethodGet, "/v1/admin/operations/"+made.Operation.ID, nil, &seen); err != nil {
			return err
		}
		if seen.State != "succeeded" {
			return fmt.Errorf("operation %s is %s %s", seen.ID, seen.State, seen.Error)
		}
		return nil
	})
}

// tenant is a tenant that a case has made.
type tenant struct {
	id   string
	slug string
}

// dashed returns the id in the spelling that older tokens carry.
func (t tenant) dashed() string {
	return strings.Join([]string{t.id[:8], t.id[8:12], t.id[12:16], t.id[16:20], t.id[20:]}, "-")
}

func (t tenant) path(rest string) string { return "/v1/admin/tenants/" + t.slug + rest }

// createTenant is the body of `POST /v1/tenants`.
type createTenant struct {
	Name        string            `json:"name"`
	Slug        string            `json:"slug,omitempty"`
	Environment string            `json:"environment"`
	Isolation   string            `json:"isolation"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Owner       owner             `json:"owner"`
}

type owner struct {
	Email         string `json:"email"`
	PasswordHash  string `json:"passwordHash,omitempty"`
	EmailVerified bool   `json:"emailVerified"`
}

// createdTenant is the answer to `POST /v1/tenants`.
type createdTenant struct {
	ID     string `json:"id"`
	Slug   string `json:"slug"`
	Status string `json:"status"`
}

// associate is the body of `POST /v1/tenants/{id}/associations/{service}`.
type associate struct {
	IsolationMode string `json:"isolationMode"`
	MaxOpenConns  int    `json:"maxOpenConns,omitempty"`
	MaxIdleConns  int    `json:"maxIdleConns,omitempty"`
}

// associated is its answer.
type associated struct {
	ServiceName string `json:"serviceName"`
	Status      string `json:"status"`
}

func newTenant(slug string) createTenant {
	return createTenant{
		Name: "Banco " + slug, Slug: slug, Environment: "production", Isolation: "shared",
		Metadata: map[string]string{"origin": "self-serve", "midaz_org_id": slug},
		Owner: owner{
			Email:         "owner@" + slug + ".example",
			PasswordHash:  "$2b$12$" + strings.Repeat("a", 53),
			EmailVerified: true,
		},
	}
}

// tenant makes a tenant through the contract.
func (m *manager) tenant(ctx context.Context, prefix string) (tenant, error) {
	slug := m.slug(prefix)
	var made createdTenant
	_, err := m.call(ctx, http.MethodPost, "/v1/tenants", newTenant(slug), &made)
	return tenant{id: made.ID, slug: made.Slug}, err
}

// associate associates a tenant through the contract and waits until it can be served.
func (m *manager) associate(ctx context.Context, t tenant, service string) error {
	path := "/v1/tenants/" + t.id + "/associations/" + service
	if _, err := m.call(ctx, http.MethodPost, path, associate{IsolationMode: "dedicated"}, nil); err != nil {
		return err
	}
	return m.served(ctx, t, service)
}

// served waits until a tenant's connections are handed out.
func (m *manager) served(ctx context.Context, t tenant, service string) error {
	path := "/v1/tenants/" + t.id + "/associations/" + service + "/connections"
	return until(ctx, "connections of "+t.slug, func() error {
		_, err := m.call(ctx, http.MethodGet, path, nil, nil)
		return err
	})
}

// with makes a tenant that is associated with a service, in an isolation mode.
func (m *manager) with(ctx context.Context, prefix, service, mode string) (tenant, error) {
	t, err := m.tenant(ctx, prefix)
	if err != nil {
		return t, err
	}
	if mode == "database" {
		return t, m.associate(ctx, t, service)
	}
	body := map[string]any{"isolationMode": mode, "force": true}
	if err := m.change(ctx, http.MethodPost, t.path("/services/"+service), body); err != nil {
		return t, err
	}
	return t, m.served(ctx, t, service)
}
