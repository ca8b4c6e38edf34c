package cluster

import (
	"context"
	"errors"
)

type Postgres struct{}

func (p Postgres) check() error { return nil }

func openPostgres(context.Context, Postgres) (*store, error) { return nil, errors.New("x") }
