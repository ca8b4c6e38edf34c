package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(Config{Path: path})
	require.NoError(t, err)
	return s
}

func each(t *testing.T, run func(t *testing.T, s *Store)) {
	for name, path := range map[string]string{"memory": "", "file": filepath.Join(t.TempDir(), "a#b?c.db")} {
		t.Run(name, func(t *testing.T) {
			s := open(t, path)
			defer func() { require.NoError(t, s.Close()) }()
			run(t, s)
		})
	}
}

func TestDocuments(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, s *Store) {
		a := s.Tenant("a")
		require.NoError(t, a.Update(ctx, func(tx *Tx) error {
			for _, id := range []string{"1", "2", "3"} {
				if err := tx.Put("users", id, Doc{"user_id": id, "email": "U" + id + "@x.com"}); err != nil {
					return err
				}
			}
			d, found, err := tx.FindOne("users", "email", "u2@x.com")
			require.True(t, found) // it sees its own writes
			require.Equal(t, "2", d["user_id"])
			return err
		}))
		boom := errors.New("boom")
		require.ErrorIs(t, a.Update(ctx, func(tx *Tx) error {
			if err := tx.Put("users", "4", Doc{"email": "u4@x.com"}); err != nil {
				return err
			}
			if err := tx.Put("new-family", "1", Doc{}); err != nil {
				return err
			}
			return boom
		}), boom)
		require.NoError(t, a.Update(ctx, func(tx *Tx) error { return tx.Put("new-family", "2", Doc{}) }))
		require.NoError(t, a.View(ctx, func(tx *Tx) error {
			n, err := tx.Count("users", ListOptions{})
			require.NoError(t, err)
			require.Equal(t, 3, n) // rolled back
			page, next, err := tx.List("users", ListOptions{Limit: 2})
			require.NoError(t, err)
			require.Len(t, page, 2)
			page, next, err = tx.List("users", ListOptions{Limit: 2, After: next})
			require.NoError(t, err)
			require.Equal(t, "3", page[0]["user_id"])
			require.Empty(t, next)
			_, _, err = tx.List("users", ListOptions{After: "!"})
			require.ErrorIs(t, err, ErrCursor)
			_, err = tx.Find("users", "colour", "x")
			require.Error(t, err)
			return nil
		}))
		require.ErrorIs(t, a.View(ctx, func(tx *Tx) error { return tx.Put("users", "1", Doc{}) }), ErrReadOnly)
		require.NoError(t, a.Update(ctx, func(tx *Tx) error {
			if err := tx.Put("users", "1", Doc{"user_id": "1", "email": "new@x.com"}); err != nil {
				return err
			}
			old, err := tx.Find("users", "email", "u1@x.com")
			require.Empty(t, old) // the index followed
			_, err2 := tx.Delete("users", "2")
			return errors.Join(err, err2)
		}))
		require.NoError(t, s.Tenant("b").View(ctx, func(tx *Tx) error {
			docs, err := tx.Find("users", "email", "new@x.com")
			require.Empty(t, docs) // another tenant
			return err
		}))
	})
}

func TestSurvivesRestart(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "s.db")
	s := open(t, path)
	require.NoError(t, s.Tenant("a").Update(ctx, func(tx *Tx) error {
		if _, err := tx.CurrentSigningKey(); err != nil {
			return err
		}
		return tx.Put("roles", "r", Doc{"name": "x"})
	}))
	var before SigningKey
	require.NoError(t, s.Tenant("a").View(ctx, func(tx *Tx) (err error) { before, err = tx.CurrentSigningKey(); return err }))
	require.NoError(t, s.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	s = open(t, path)
	require.NoError(t, s.Tenant("a").View(ctx, func(tx *Tx) error {
		_, found, err := tx.FindOne("roles", "name", "x")
		require.True(t, found)
		after, err2 := tx.CurrentSigningKey()
		require.Equal(t, before.KID, after.KID)
		require.True(t, before.Private.Equal(after.Private))
		return errors.Join(err, err2)
	}))
	w := <-s.writer
	require.NoError(t, w.exec("PRAGMA user_version=99"))
	s.writer <- w
	require.NoError(t, s.Close())
	_, err = Open(Config{Path: path})
	require.ErrorContains(t, err, "newer version")
	_, err = Open(Config{Path: filepath.Join(t.TempDir(), "no", "such", "dir")})
	require.Error(t, err)
}

func TestIndexesAreRebuilt(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "s.db")
	s := open(t, path)
	require.NoError(t, s.Tenant("a").Update(ctx, func(tx *Tx) error { return tx.Put("roles", "r", Doc{"name": "x"}) }))
	w := <-s.writer // as a file from before the index was declared
	require.NoError(t, w.exec("DELETE FROM idx"))
	require.NoError(t, w.exec("DELETE FROM meta"))
	s.writer <- w
	require.NoError(t, s.Close())
	s = open(t, path)
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Tenant("a").View(ctx, func(tx *Tx) error {
		_, found, err := tx.FindOne("roles", "name", "x")
		require.True(t, found)
		return err
	}))
}

func TestKeysRotate(t *testing.T) {
	s := open(t, "")
	defer func() { require.NoError(t, s.Close()) }()
	require.NoError(t, s.Tenant("a").Update(context.Background(), func(tx *Tx) error {
		first, err := tx.CurrentSigningKey()
		require.NoError(t, err)
		second, err := tx.RotateSigningKeys()
		require.NoError(t, err)
		require.NotEqual(t, first.KID, second.KID)
		keys, err := tx.SigningKeys()
		require.Len(t, keys, 3)
		for _, k := range keys {
			require.Equal(t, k.KID == first.KID, k.Previous)
			require.Equal(t, k.KID == second.KID, k.Current)
		}
		return err
	}))
}

func TestUsersAreUnique(t *testing.T) {
	s := open(t, "")
	defer func() { require.NoError(t, s.Close()) }()
	con := Doc{"name": "people", "strategy": "auth0"}
	require.NoError(t, s.Tenant("a").Update(context.Background(), func(tx *Tx) error {
		u, err := tx.CreateUser(NewUser{Connection: con, Password: "secret", Profile: Doc{"email": "Ada@X.com", "username": "ada"}})
		require.NoError(t, err)
		require.Equal(t, "ada@x.com", u["email"])
		require.True(t, PasswordMatches(u, "secret"))
		require.False(t, PasswordMatches(u, "Secret"))
		require.False(t, PasswordMatches(Doc{}, ""))
		require.NotContains(t, Public(u), Private)
		_, err = tx.CreateUser(NewUser{Connection: con, Profile: Doc{"email": "ada@x.com"}})
		require.ErrorIs(t, err, ErrUserExists)
		_, err = tx.CreateUser(NewUser{Connection: con, Profile: Doc{"email": "b@x.com", "username": "ADA"}})
		require.ErrorIs(t, err, ErrUsernameExists)
		other, err := tx.CreateUser(NewUser{Connection: Doc{"name": "staff", "strategy": "auth0"}, Profile: Doc{"email": "ada@x.com"}})
		require.NoError(t, err) // unique in its connection
		other["nickname"] = "lovelace"
		require.NoError(t, tx.ChangeUser(other))
		events, err := tx.Find("events", "type", "user.updated")
		require.Len(t, events, 1)
		return err
	}))
}

func TestPasswordProblems(t *testing.T) {
	con := func(options Doc) Doc { return Doc{"options": options} }
	for name, c := range map[string]struct {
		options  Doc
		password string
		ok       bool
	}{
		"none":            {Doc{"passwordPolicy": "none"}, "a", true},
		"empty":           {Doc{}, "", false},
		"good":            {Doc{"passwordPolicy": "good"}, "Abcdefg1", true},
		"good, too plain": {Doc{"passwordPolicy": "good"}, "abcdefgh", false},
		"excellent":       {Doc{"passwordPolicy": "excellent"}, "Abcdefg111x", false},
		"length":          {Doc{"passwordPolicy": "good", "password_complexity_options": Doc{"min_length": 12.0}}, "Abcdefg1", false},
		"personal":        {Doc{"passwordPolicy": "low", "password_no_personal_info": Doc{"enable": true}}, "my-ada-pass", false},
		"common":          {Doc{"passwordPolicy": "low", "password_dictionary": Doc{"enable": true}}, "Password1", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := PasswordProblems(con(c.options), Doc{"email": "ada@x.com"}, c.password)
			require.Equal(t, c.ok, ok)
		})
	}
}

func TestClockAndWatch(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := Open(Config{Now: func() time.Time { return now }})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	s.Clock().Advance(time.Hour)
	require.Equal(t, now.Add(time.Hour), s.Now())
	s.Clock().Freeze(now)
	s.Clock().Advance(time.Minute)
	require.Equal(t, now.Add(time.Minute), s.Now())
	s.Clock().Reset()
	require.Equal(t, now, s.Now())
	wake, stop := s.Watch("events")
	require.NoError(t, s.Tenant("a").Update(context.Background(), func(tx *Tx) error { return tx.Emit("user.created", Doc{}, nil, nil) }))
	<-wake
	stop()
	require.NoError(t, s.Tenant("a").Update(context.Background(), func(tx *Tx) error { return tx.Emit("user.created", Doc{}, nil, nil) }))
	require.Empty(t, wake)
}

func TestCloneOfNull(t *testing.T) {
	require.Nil(t, Clone(any(nil)))
	require.Equal(t, Doc{"a": nil}, Clone(Doc{"a": nil}))
}

func TestIdentifiers(t *testing.T) {
	s := open(t, "")
	defer func() { require.NoError(t, s.Close()) }()
	for kind, pattern := range map[Kind]string{
		ClientID: `^[A-Za-z0-9]{32}$`, ClientSecret: `^[A-Za-z0-9_-]{64}$`, ConnectionID: `^con_[A-Za-z0-9]{16}$`, EventStreamID: `^est_[1-9A-HJ-NP-Za-km-z]{22}$`,
		ObjectID: `^[0-9a-f]{24}$`, UUID: `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, LogStreamID: `^lst_[0-9]{16}$`, LogID: `^900[0-9]{54}$`,
	} {
		require.Regexp(t, pattern, s.NewID(kind), kind)
		require.NotEqual(t, s.NewID(kind), s.NewID(kind))
	}
}
