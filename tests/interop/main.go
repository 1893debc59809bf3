// Command interop is a small product made of Lerian's official client library, in the versions
// that Lerian's products are built with. It runs every case against a Tenant Manager and prints
// one line of JSON per case:
//
//	{"case":"v5 connections","passed":true,"detail":"","milliseconds":12}
//
// Between cases it may ask whoever started it to stop or start the Tenant Manager, with a line
// {"ask":"stop"} or {"ask":"start"}, and goes on when a line comes back on its standard input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// patience is how long a case waits for what must come: products wait up to 5 s by themselves
// before they act on an event.
const patience = 90 * time.Second

// result is the line that a case ends with.
type result struct {
	Case         string `json:"case"`
	Passed       bool   `json:"passed"`
	Detail       string `json:"detail"`
	Milliseconds int64  `json:"milliseconds"`
}

// world is what every case gets.
type world struct {
	manager *manager
	redis   redisAddress
	answers *bufio.Reader
	out     *json.Encoder
	notes   []string
}

// note adds a fact to the line of the running case.
func (w *world) note(format string, arguments ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, arguments...))
}

// ask has the Tenant Manager stopped or started.
func (w *world) ask(what string) error {
	if err := w.out.Encode(map[string]string{"ask": what}); err != nil {
		return err
	}
	if _, err := w.answers.ReadString('\n'); err != nil {
		return fmt.Errorf("nobody answered %q: %w", what, err)
	}
	return nil
}

// run runs one case and prints its line. A case that panics has failed.
func (w *world) run(name string, body func(context.Context, *world) error) (passed bool) {
	started := time.Now()
	w.notes = nil
	err := func() (err error) {
		defer func() {
			if panicked := recover(); panicked != nil {
				err = fmt.Errorf("panic: %v\n%s", panicked, debug.Stack())
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		return body(ctx, w)
	}()
	line := result{Case: name, Passed: err == nil, Milliseconds: time.Since(started).Milliseconds()}
	if err != nil {
		w.note("%v", err)
	}
	line.Detail = strings.Join(w.notes, "; ")
	if err := w.out.Encode(line); err != nil {
		panic(err)
	}
	return line.Passed
}

// until waits until condition holds; it fails with the last reason when it never does.
func until(ctx context.Context, what string, condition func() error) error {
	deadline := time.Now().Add(patience)
	for {
		err := condition()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("never: %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("never: %s: %w", what, errors.Join(err, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// expect fails unless both are equal.
func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// libraries are the versions by name.
var libraries = map[string]library{"v4": libraryV4{}, "v5": libraryV5{}}

func main() {
	required := func(name string) string {
		value := os.Getenv(name)
		if value == "" {
			fmt.Fprintf(os.Stderr, "%s is not set\n", name)
			os.Exit(2)
		}
		return value
	}
	w := &world{
		manager: newManager(required("INTEROP_URL"), required("INTEROP_API_KEY")),
		redis: redisAddress{
			host:     required("INTEROP_REDIS_HOST"),
			port:     required("INTEROP_REDIS_PORT"),
			password: required("INTEROP_REDIS_PASSWORD"),
		},
		answers: bufio.NewReader(os.Stdin),
		out:     json.NewEncoder(os.Stdout),
	}
	passed := true
	switch set := required("INTEROP_SET"); set {
	case "contract":
		for _, c := range contractCases {
			passed = w.run("contract "+c.name, c.body) && passed
		}
	case "tls":
		for _, name := range []string{"v4", "v5"} {
			lib := libraries[name]
			passed = w.run("tls "+lib.name(), func(ctx context.Context, w *world) error {
				return tlsCase(ctx, w, lib)
			}) && passed
		}
	case "v4", "v5":
		lib := libraries[set]
		for _, c := range libraryCases {
			if c.since != "" && lib.name() < c.since {
				continue
			}
			passed = w.run(set+" "+c.name, func(ctx context.Context, w *world) error {
				return c.body(ctx, w, lib)
			}) && passed
		}
	default:
		fmt.Fprintf(os.Stderr, "no such set: %s\n", set)
		os.Exit(2)
	}
	if !passed {
		os.Exit(1)
	}
}
