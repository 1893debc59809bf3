package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// contractCase needs no library: the calls that change tenants came with a version of the library
// that this program is not built with, so they are made here as that version makes them.
type contractCase struct {
	name string
	body func(context.Context, *world) error
}

var contractCases = []contractCase{
	{"create", createCase},
	{"associate", associateCase},
	{"suspend and reactivate", suspendCase},
}

// status fails unless a call was answered with one of the statuses.
func status(what string, got int, err error, want ...int) error {
	for _, w := range want {
		if got == w {
			return nil
		}
	}
	return fmt.Errorf("%s: answered %d, not %v: %w", what, got, want, orNone(err))
}

func createCase(ctx context.Context, w *world) error {
	m := w.manager
	spec := newTenant(m.slug("create"))
	var made, again, third createdTenant
	code, err := m.call(ctx, http.MethodPost, "/v1/tenants", spec, &made)
	if err := status("create", code, err, 201); err != nil {
		return err
	}
	// The hash of the same password differs at every sign-up.
	spec.Owner.PasswordHash = spec.Owner.PasswordHash[:59] + "b"
	code, err = m.call(ctx, http.MethodPost, "/v1/tenants", spec, &again)
	if err := status("repeat", code, err, 200); err != nil {
		return err
	}
	other := newTenant(spec.Slug)
	other.Owner.Email = "someone@else.example"
	code, err = m.call(ctx, http.MethodPost, "/v1/tenants", other, nil)
	derived := newTenant("")
	derived.Name = "Cooperativa " + m.slug("Sol")
	derivedCode, derivedErr := m.call(ctx, http.MethodPost, "/v1/tenants", derived, &third)
	invalid := newTenant(m.slug("invalid"))
	invalid.Isolation = "none"
	invalidCode, invalidErr := m.call(ctx, http.MethodPost, "/v1/tenants", invalid, nil)
	unauthorised := newManager(m.url, "not the key")
	wrongCode, wrongErr := unauthorised.call(ctx, http.MethodPost, "/v1/tenants", spec, nil)
	// A client with a service account sends its token besides the key. Where no Access Manager is
	// configured nobody can judge it, and the key decides.
	account := newManager(m.url, m.key)
	account.bearer = token("00000000000040008000000000000000")
	accountCode, accountErr := account.call(ctx, http.MethodPost, "/v1/tenants", newTenant(m.slug("account")), nil)
	return errors.Join(
		status("a key and a token", accountCode, accountErr, 201),
		status("another identity", code, err, 409),
		expect("the tenant of the repeat", again, made),
		expect("status", made.Status, "active"),
		expect("slug", made.Slug, spec.Slug),
		expect("length of the id", len(made.ID), 32),
		status("a slug that is derived", derivedCode, derivedErr, 201),
		status("an unknown isolation", invalidCode, invalidErr, 400, 422),
		status("a wrong key", wrongCode, wrongErr, 401),
	)
}

func associateCase(ctx context.Context, w *world) error {
	m := w.manager
	t, err := m.tenant(ctx, "associate")
	if err != nil {
		return err
	}
	path := "/v1/tenants/" + t.id + "/associations/"
	body := associate{IsolationMode: "dedicated", MaxOpenConns: 7, MaxIdleConns: 2}
	var answer associated
	code, err := m.call(ctx, http.MethodPost, path+"tracer", body, &answer)
	if err := status("associate", code, err, 200, 201); err != nil {
		return err
	}
	code, err = m.call(ctx, http.MethodPost, path+"tracer", body, nil)
	dashedCode, dashedErr := m.call(ctx, http.MethodPost,
		"/v1/tenants/"+t.dashed()+"/associations/tracer", body, nil)
	body.IsolationMode = "somehow"
	invalidCode, invalidErr := m.call(ctx, http.MethodPost, path+"matcher", body, nil)
	body.IsolationMode = "dedicated"
	lostCode, lostErr := m.call(ctx, http.MethodPost,
		"/v1/tenants/00000000000040008000000000000000/associations/tracer", body, nil)
	return errors.Join(
		expect("serviceName", answer.ServiceName, "tracer"),
		status("repeat", code, err, 409),
		status("repeat with a dashed id", dashedCode, dashedErr, 409),
		status("an unknown isolation mode", invalidCode, invalidErr, 400, 422),
		status("an unknown tenant", lostCode, lostErr, 404),
		m.served(ctx, t, "tracer"),
	)
}

func suspendCase(ctx context.Context, w *world) error {
	m := w.manager
	t, err := m.with(ctx, "suspend", "tracer", "database")
	if err != nil {
		return err
	}
	suspend := "/v1/tenants/" + t.id + "/associations/tracer/suspend"
	reactivate := "/v1/tenants/" + t.id + "/reactivate"
	// Two orders: each call, then its repeat. 409 stands for "already so".
	for _, call := range []struct {
		name, path string
		want       []int
	}{
		{"suspend", suspend, []int{200, 204}},
		{"suspend again", suspend, []int{200, 204, 409}},
		{"reactivate", reactivate, []int{200, 204}},
		{"reactivate again", reactivate, []int{200, 204, 409}},
		{"suspend once more", suspend, []int{200, 204}},
	} {
		code, err := m.call(ctx, http.MethodPut, call.path, nil, nil)
		if err := status(call.name, code, err, call.want...); err != nil {
			return err
		}
	}
	code, err := m.call(ctx, http.MethodPut, "/v1/tenants/"+t.id+"/associations/matcher/suspend", nil, nil)
	return status("suspend what is not associated", code, err, 404)
}
