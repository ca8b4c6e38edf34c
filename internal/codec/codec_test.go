package codec

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"

	"github.com/tenonhq/tenon/internal/secret"
)

// The vectors of c2sp.org/XAES-256-GCM: the second exercises the other value of
// the bit that falls out when the CMAC subkey is doubled.
func TestXAESVectors(t *testing.T) {
	for _, tc := range []struct {
		key              byte
		associated, want string
	}{
		{0x01, "", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		x, err := newXAES(bytes.Repeat([]byte{tc.key}, keySize))
		require.NoError(t, err)
		nonce, plain := []byte("ABCDEFGHIJKLMNOPQRSTUVWX"), []byte("XAES-256-GCM")
		sealed, err := x.seal(nil, nonce, plain, []byte(tc.associated))
		require.NoError(t, err)
		require.Equal(t, tc.want, hex.EncodeToString(sealed))
		opened, err := x.open(nonce, sealed, []byte(tc.associated))
		require.NoError(t, err)
		require.Equal(t, plain, opened)
	}
}

func testKey(id string, fill byte) Key {
	return Key{ID: id, Material: secret.New(string(bytes.Repeat([]byte{fill}, keySize)))}
}

func newCodec(t testing.TB, cfg Config) *Codec {
	t.Helper()
	if cfg.Keys == nil {
		cfg.Keys = []Key{testKey("k1", 1)}
	}
	c, err := New(cfg)
	require.NoError(t, err)
	return c
}

func payload(t testing.TB, v any) *commonpb.Payload {
	t.Helper()
	p, err := converter.GetDefaultDataConverter().ToPayload(v)
	require.NoError(t, err)
	return p
}

func encodeOne(t testing.TB, c *Codec, p *commonpb.Payload) *commonpb.Payload {
	t.Helper()
	out, err := c.Encode([]*commonpb.Payload{p})
	require.NoError(t, err)
	require.Len(t, out, 1)
	return out[0]
}

func TestRoundTrip(t *testing.T) {
	random := make([]byte, 100_000)
	_, err := rand.Read(random)
	require.NoError(t, err)
	for name, v := range map[string]any{
		"nothing":        nil,
		"empty string":   "",
		"text":           "attack at dawn",
		"bytes":          random,
		"compressible":   strings.Repeat("all work and no play ", 10_000),
		"structured":     map[string]any{"a": 1.5, "b": []any{"c"}},
		"just below 2 k": strings.Repeat("x", 2000),
	} {
		t.Run(name, func(t *testing.T) {
			c := newCodec(t, Config{RequireEncrypted: true})
			p := payload(t, v)
			before := proto.Clone(p)
			e := encodeOne(t, c, p)
			require.True(t, proto.Equal(before, p), "the input must not be changed")
			require.Equal(t, Encoding, string(e.Metadata["encoding"]))
			require.Equal(t, "k1", string(e.Metadata[MetadataKey]))
			require.Len(t, e.Metadata, 3, "no metadata of the plaintext may show")
			if len(p.Data) > 8 {
				require.NotContains(t, string(e.Data), string(p.Data[:8]))
			}
			d, err := c.Decode([]*commonpb.Payload{e})
			require.NoError(t, err)
			require.True(t, proto.Equal(p, d[0]))
			require.NotEqual(t, e.Data, encodeOne(t, c, p).Data, "every encryption has its own nonce")
		})
	}
}

func TestCompression(t *testing.T) {
	text := strings.Repeat("all work and no play ", 1000)
	c := newCodec(t, Config{})
	require.Less(t, len(encodeOne(t, c, payload(t, text)).Data), 1000)

	off := newCodec(t, Config{CompressAbove: -1})
	require.Greater(t, len(encodeOne(t, off, payload(t, text)).Data), len(text))

	noise := make([]byte, 10_000)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	p := payload(t, noise)
	require.LessOrEqual(t, len(encodeOne(t, c, p).Data), proto.Size(p)+1+nonceSize+tagSize, "what does not shrink is stored")
}

func TestDecompressionIsBounded(t *testing.T) {
	c := newCodec(t, Config{MaxDecoded: 1 << 20})
	var bomb bytes.Buffer
	bomb.WriteByte(formDeflate)
	w, err := flate.NewWriter(&bomb, flate.BestCompression)
	require.NoError(t, err)
	block := make([]byte, 1<<20)
	for range 64 {
		_, err := w.Write(block)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	require.Less(t, bomb.Len(), 100_000)

	nonce := make([]byte, nonceSize)
	data, err := c.keys.Load().byID["k1"].seal(bytes.Clone(nonce), nonce, bomb.Bytes(), associated(Encoding, Cipher, "k1"))
	require.NoError(t, err)
	_, err = c.Decode([]*commonpb.Payload{{
		Metadata: map[string][]byte{"encoding": []byte(Encoding), metaCipher: []byte(Cipher), MetadataKey: []byte("k1")},
		Data:     data,
	}})
	require.ErrorIs(t, err, ErrTooLarge)

	_, err = c.Encode([]*commonpb.Payload{{Data: make([]byte, 1<<20+1)}})
	require.ErrorIs(t, err, ErrTooLarge, "what could not be read back is not written")
}

func TestTamper(t *testing.T) {
	c := newCodec(t, Config{Keys: []Key{testKey("k1", 1), testKey("k2", 2)}})
	fresh := encodeOne(t, c, payload(t, "attack at dawn"))
	for i := range fresh.Data {
		e := proto.Clone(fresh).(*commonpb.Payload)
		e.Data[i] ^= 1
		_, err := c.Decode([]*commonpb.Payload{e})
		require.ErrorIs(t, err, ErrCorrupt, "byte %d", i)
	}
	for n := range fresh.Data {
		e := proto.Clone(fresh).(*commonpb.Payload)
		e.Data = e.Data[:n]
		_, err := c.Decode([]*commonpb.Payload{e})
		require.ErrorIs(t, err, ErrCorrupt, "cut to %d bytes", n)
	}
	for name, tc := range map[string]struct {
		change func(*commonpb.Payload)
		want   error
	}{
		"longer":        {func(p *commonpb.Payload) { p.Data = append(p.Data, 0) }, ErrCorrupt},
		"another key":   {func(p *commonpb.Payload) { p.Metadata[MetadataKey] = []byte("k2") }, ErrCorrupt},
		"unknown key":   {func(p *commonpb.Payload) { p.Metadata[MetadataKey] = []byte("k3") }, ErrUnknownKey},
		"no key":        {func(p *commonpb.Payload) { delete(p.Metadata, MetadataKey) }, ErrUnknownKey},
		"other cipher":  {func(p *commonpb.Payload) { p.Metadata[metaCipher] = []byte("none") }, ErrCorrupt},
		"no cipher":     {func(p *commonpb.Payload) { delete(p.Metadata, metaCipher) }, ErrCorrupt},
		"no data":       {func(p *commonpb.Payload) { p.Data = nil }, ErrCorrupt},
		"huge key name": {func(p *commonpb.Payload) { p.Metadata[MetadataKey] = bytes.Repeat([]byte("\n"), 1<<16) }, ErrUnknownKey},
	} {
		t.Run(name, func(t *testing.T) {
			e := proto.Clone(fresh).(*commonpb.Payload)
			tc.change(e)
			_, err := c.Decode([]*commonpb.Payload{e})
			require.ErrorIs(t, err, tc.want)
			require.Less(t, len(err.Error()), 400)
			require.NotContains(t, err.Error(), "\n")
		})
	}

	// The same id with other bytes is a wrong key, not a crash.
	other := newCodec(t, Config{Keys: []Key{testKey("k1", 9)}})
	_, err := other.Decode([]*commonpb.Payload{fresh})
	require.ErrorIs(t, err, ErrCorrupt)
}

// The key's name is bound to the ciphertext even where two names share a key.
func TestKeyNameIsBound(t *testing.T) {
	c := newCodec(t, Config{Keys: []Key{testKey("k1", 1), testKey("alias", 1)}})
	e := encodeOne(t, c, payload(t, "x"))
	e.Metadata[MetadataKey] = []byte("alias")
	_, err := c.Decode([]*commonpb.Payload{e})
	require.ErrorIs(t, err, ErrCorrupt)
}

func TestPlaintext(t *testing.T) {
	p := payload(t, "old history")
	out, err := newCodec(t, Config{}).Decode([]*commonpb.Payload{p})
	require.NoError(t, err)
	require.True(t, proto.Equal(p, out[0]))
	for _, q := range []*commonpb.Payload{p, {}, {Metadata: map[string][]byte{"encoding": []byte("binary/null")}}} {
		_, err = newCodec(t, Config{RequireEncrypted: true}).Decode([]*commonpb.Payload{q})
		require.ErrorIs(t, err, ErrNotEncrypted)
	}
}

func TestRotation(t *testing.T) {
	k1, k2 := testKey("k1", 1), testKey("k2", 2)
	c := newCodec(t, Config{Keys: []Key{k1}})
	old := encodeOne(t, c, payload(t, "before"))

	require.NoError(t, c.SetKeys([]Key{k2, k1}))
	now := encodeOne(t, c, payload(t, "after"))
	require.Equal(t, "k2", string(now.Metadata[MetadataKey]))
	_, err := c.Decode([]*commonpb.Payload{old, now})
	require.NoError(t, err)

	require.NoError(t, c.SetKeys([]Key{k2}))
	_, err = c.Decode([]*commonpb.Payload{old})
	require.ErrorIs(t, err, ErrUnknownKey)
}

func TestReloadOnUnknownKey(t *testing.T) {
	k1, k2 := testKey("k1", 1), testKey("k2", 2)
	now := time.Unix(1_000_000, 0)
	calls, have, fail := 0, []Key{k1}, error(nil)
	c := newCodec(t, Config{
		Keys:   []Key{k1},
		Now:    func() time.Time { return now },
		Reload: func() ([]Key, error) { calls++; return have, fail },
	})
	e := encodeOne(t, newCodec(t, Config{Keys: []Key{k2}}), payload(t, "x"))

	_, err := c.Decode([]*commonpb.Payload{e})
	require.ErrorIs(t, err, ErrUnknownKey)
	have = []Key{k1, k2}
	_, err = c.Decode([]*commonpb.Payload{e})
	require.ErrorIs(t, err, ErrUnknownKey, "at most one fetch a second")
	require.Equal(t, 1, calls)

	now, fail = now.Add(time.Second), errors.New("vault is sealed")
	_, err = c.Decode([]*commonpb.Payload{e})
	require.ErrorIs(t, err, ErrUnknownKey)
	require.ErrorContains(t, err, "vault is sealed")

	now, fail = now.Add(time.Second), nil
	_, err = c.Decode([]*commonpb.Payload{e})
	require.NoError(t, err)
	_, err = c.Decode([]*commonpb.Payload{e})
	require.NoError(t, err)
	require.Equal(t, 3, calls)
}

func TestConfigRefused(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no key":        {},
		"short key":     {Keys: []Key{{ID: "k", Material: secret.New("short")}}},
		"no id":         {Keys: []Key{testKey("", 1)}},
		"bad id":        {Keys: []Key{testKey("a b", 1)}},
		"long id":       {Keys: []Key{testKey(strings.Repeat("k", 65), 1)}},
		"twice":         {Keys: []Key{testKey("k", 1), testKey("k", 2)}},
		"negative size": {Keys: []Key{testKey("k", 1)}, MaxDecoded: -1},
	} {
		_, err := New(cfg)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "short ", name)
	}
}

func TestDataConverter(t *testing.T) {
	c := newCodec(t, Config{RequireEncrypted: true})
	dc := c.DataConverter(nil)
	ps, err := dc.ToPayloads("one", 2, nil)
	require.NoError(t, err)
	for _, p := range ps.Payloads {
		require.Equal(t, Encoding, string(p.Metadata["encoding"]))
	}
	var s string
	var n int
	var q *int
	require.NoError(t, dc.FromPayloads(ps, &s, &n, &q))
	require.Equal(t, "one", s)
	require.Equal(t, 2, n)
	require.Nil(t, q)
}

func TestFailureConverter(t *testing.T) {
	c := newCodec(t, Config{})
	fc := FailureConverter(c.DataConverter(nil))
	cause := temporal.NewApplicationError("password hunter2 was refused", "Refused", "detail hunter3")
	f := fc.ErrorToFailure(cause)
	text, err := proto.Marshal(f)
	require.NoError(t, err)
	require.NotContains(t, string(text), "hunter2")
	require.NotContains(t, string(text), "hunter3")

	back := fc.FailureToError(f)
	require.ErrorContains(t, back, "password hunter2 was refused")
	var app *temporal.ApplicationError
	require.ErrorAs(t, back, &app)
	require.Equal(t, "Refused", app.Type())
	var detail string
	require.NoError(t, app.Details(&detail))
	require.Equal(t, "detail hunter3", detail)
}

func TestConcurrentUse(t *testing.T) {
	k1, k2 := testKey("k1", 1), testKey("k2", 2)
	c := newCodec(t, Config{Keys: []Key{k1, k2}})
	long := payload(t, strings.Repeat("compress me ", 1000))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				e, err := c.Encode([]*commonpb.Payload{long})
				if err == nil {
					e, err = c.Decode(e)
				}
				if err != nil || !proto.Equal(long, e[0]) {
					t.Errorf("round trip failed: %v", err)
					return
				}
			}
		})
	}
	for i := range 100 {
		keys := []Key{k1, k2}
		if i%2 == 0 {
			keys = []Key{k2, k1}
		}
		require.NoError(t, c.SetKeys(keys))
	}
	wg.Wait()
}

// Whatever arrives, decoding does not panic, does not grow without bound, and
// yields only what was encrypted or was never encrypted.
func FuzzDecode(f *testing.F) {
	// The nonce is fixed, because workers of the fuzzer build their own good.
	c := newCodec(f, Config{MaxDecoded: 1 << 16, Rand: strings.NewReader(strings.Repeat("n", nonceSize))})
	good := encodeOne(f, c, payload(f, strings.Repeat("seed ", 1000)))
	f.Add(Encoding, Cipher, "k1", good.Data)
	f.Add(Encoding, Cipher, "k1", []byte{})
	f.Add("json/plain", "", "", []byte("{}"))
	f.Fuzz(func(t *testing.T, encoding, cipherName, id string, data []byte) {
		in := &commonpb.Payload{
			Metadata: map[string][]byte{"encoding": []byte(encoding), metaCipher: []byte(cipherName), MetadataKey: []byte(id)},
			Data:     data,
		}
		out, err := c.Decode([]*commonpb.Payload{in})
		switch {
		case encoding != Encoding:
			require.NoError(t, err)
			require.True(t, proto.Equal(in, out[0]))
		case err == nil:
			require.True(t, bytes.Equal(data, good.Data), "a forged payload was accepted")
		}
	})
}

// The form byte and what follows are read only after authentication, but a
// holder of the key must not be able to crash a reader either.
func FuzzAuthenticatedPlaintext(f *testing.F) {
	c := newCodec(f, Config{MaxDecoded: 1 << 16})
	x := c.keys.Load().byID["k1"]
	f.Add([]byte{formStored})
	f.Add([]byte{formDeflate, 1, 0, 0, 0xff, 0xff})
	f.Add([]byte{2, 3})
	f.Fuzz(func(t *testing.T, plain []byte) {
		if len(plain) == 0 {
			return
		}
		nonce := make([]byte, nonceSize)
		data, err := x.seal(bytes.Clone(nonce), nonce, plain, associated(Encoding, Cipher, "k1"))
		require.NoError(t, err)
		out, err := c.Decode([]*commonpb.Payload{{
			Metadata: map[string][]byte{"encoding": []byte(Encoding), metaCipher: []byte(Cipher), MetadataKey: []byte("k1")},
			Data:     data,
		}})
		if err == nil {
			require.LessOrEqual(t, len(out[0].Data), 1<<16)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	for name, size := range map[string]int{"200B": 200, "1500B": 1500, "20kB": 20_000} {
		b.Run(name, func(b *testing.B) {
			c := newCodec(b, Config{})
			in := []*commonpb.Payload{payload(b, strings.Repeat("{\"field\":1},", size/12))}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Encode(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
