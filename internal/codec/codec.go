// Package codec encrypts workflow payloads before they leave a client or
// worker, so that the cluster, its database and its backups hold ciphertext.
//
// A Codec is a converter.PayloadCodec of the Temporal SDK: DataConverter and
// FailureConverter wrap it for client options, so that inputs, results,
// heartbeats, memos, and error messages with their stack traces are all
// covered. Search attributes are not: the cluster must read them to search.
// Key files are this package's; keys in a vault come from whoever builds the
// Config. A Server does it over HTTP for the Web UI and the stock CLI, for those
// who may read histories; who is genuine is internal/token's decision.
//
// What must always hold: a payload that was changed, cut, or relabelled with
// another key or encoding fails to decode, and never decodes to something else;
// decoding untrusted input allocates no more than Config.MaxDecoded; no key
// appears in an error. Moving a whole payload to another place in a history is
// not detected: the same payload is legitimately read in several places.
package codec

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/proto"
)

// The format of an encrypted payload:
//
//	metadata   encoding           binary/encrypted
//	           encryption-cipher  XAES-256-GCM
//	           encryption-key-id  the key's id
//	data       nonce (24 bytes) ‖ ciphertext ‖ tag (16 bytes)
//	plaintext  0 ‖ payload as protobuf, or 1 ‖ the same after DEFLATE
//
// The metadata is the associated data. XAES-256-GCM (c2sp.org/XAES-256-GCM) is
// AES-256-GCM under a key derived for each message from a 192-bit nonce: with
// the random 96-bit nonces of plain AES-GCM, one key must not encrypt more than
// 2³² messages (NIST SP 800-38D §8.3), which a busy cluster reaches in weeks.
const (
	Encoding     = "binary/encrypted"
	Cipher       = "XAES-256-GCM"
	MetadataKey  = "encryption-key-id"
	metaCipher   = "encryption-cipher"
	metaEncoding = converter.MetadataEncoding
)

const (
	formStored  byte = 0
	formDeflate byte = 1

	// minCompress is the size below which DEFLATE gains nothing.
	minCompress = 512
	// reloadPause is the least time between two calls of Config.Reload, so that
	// payloads with invented key ids cannot make us read a file for each.
	reloadPause = time.Second
)

var (
	// ErrUnknownKey says that a payload was encrypted with a key that is not
	// among the codec's keys.
	ErrUnknownKey = errors.New("payload was encrypted with an unknown key")
	// ErrCorrupt says that a payload was changed or cut, or was encrypted with
	// another key under the same id.
	ErrCorrupt = errors.New("encrypted payload is corrupt or was tampered with")
	// ErrNotEncrypted says that a payload is plaintext although the codec
	// requires encryption.
	ErrNotEncrypted = errors.New("payload is not encrypted")
	// ErrTooLarge says that a payload would exceed Config.MaxDecoded.
	ErrTooLarge = errors.New("payload is too large")
)

// Config configures a Codec.
type Config struct {
	// Keys are the keys: the first encrypts, all decrypt. At least one.
	Keys []Key
	// Reload fetches the keys again; it is called when a payload names an
	// unknown key, at most once a second, so that a key added by another
	// process is found without a restart. Defaults to none.
	Reload func() ([]Key, error)
	// RequireEncrypted refuses to decode payloads that are not encrypted. Set
	// it once no open history holds plaintext: from then on nobody who can
	// write to the database can feed a worker. Defaults to false.
	RequireEncrypted bool
	// CompressAbove is the size in bytes from which payloads are compressed
	// before encryption, if that makes them smaller. Compression lets the
	// length of the ciphertext depend on the content; a negative value turns
	// it off. Defaults to 2048; values below 512 count as 512.
	CompressAbove int
	// MaxDecoded is the largest payload, in bytes, that decoding produces.
	// Larger ones are refused in Encode as well. Defaults to 32 MiB.
	MaxDecoded int
	// Rand is the source of nonces. Defaults to crypto/rand.Reader.
	Rand io.Reader
	// Now tells the time. Defaults to time.Now.
	Now func() time.Time
}

// Codec encrypts and decrypts payloads. It is safe for concurrent use.
type Codec struct {
	cfg  Config
	keys atomic.Pointer[keyring]

	// deflate holds *flate.Writer: one is 600 kB, too much to make for each
	// payload.
	deflate sync.Pool

	reload     sync.Mutex
	lastReload time.Time // guarded by reload
}

var _ converter.PayloadCodec = (*Codec)(nil)

// keyring is an immutable set of keys ready for use.
type keyring struct {
	first string
	byID  map[string]*xaes
}

// New builds a Codec.
func New(cfg Config) (*Codec, error) {
	if cfg.CompressAbove == 0 {
		cfg.CompressAbove = 2048
	}
	if cfg.CompressAbove > 0 && cfg.CompressAbove < minCompress {
		cfg.CompressAbove = minCompress
	}
	if cfg.MaxDecoded == 0 {
		cfg.MaxDecoded = 32 << 20
	}
	if cfg.MaxDecoded < 0 {
		return nil, fmt.Errorf("payload codec: largest decoded payload is %d bytes: must be positive", cfg.MaxDecoded)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Codec{cfg: cfg}
	if err := c.SetKeys(cfg.Keys); err != nil {
		return nil, err
	}
	return c, nil
}

// SetKeys replaces the keys: the first encrypts, all decrypt.
func (c *Codec) SetKeys(keys []Key) error {
	if len(keys) == 0 {
		return errors.New("payload codec: no key")
	}
	ring := &keyring{first: keys[0].ID, byID: make(map[string]*xaes, len(keys))}
	for _, k := range keys {
		if err := k.check(); err != nil {
			return fmt.Errorf("payload codec: %w", err)
		}
		if ring.byID[k.ID] != nil {
			return fmt.Errorf("payload codec: key id %q is given twice", k.ID)
		}
		x, err := newXAES([]byte(k.Material.Reveal()))
		if err != nil {
			return fmt.Errorf("payload codec: key %q: %w", k.ID, err)
		}
		ring.byID[k.ID] = x
	}
	c.keys.Store(ring)
	return nil
}

// Encode encrypts payloads. It implements converter.PayloadCodec.
func (c *Codec) Encode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	ring := c.keys.Load()
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		e, err := c.encrypt(ring, p)
		if err != nil {
			return nil, fmt.Errorf("encrypt payload %d: %w", i+1, err)
		}
		out[i] = e
	}
	return out, nil
}

// Decode decrypts payloads. Those that are not encrypted are passed through,
// or refused with ErrNotEncrypted if Config.RequireEncrypted is set. It
// implements converter.PayloadCodec.
func (c *Codec) Decode(payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
	out := make([]*commonpb.Payload, len(payloads))
	for i, p := range payloads {
		d, err := c.decrypt(p)
		if err != nil {
			return nil, fmt.Errorf("decrypt payload %d: %w", i+1, err)
		}
		out[i] = d
	}
	return out, nil
}

func (c *Codec) encrypt(ring *keyring, p *commonpb.Payload) (*commonpb.Payload, error) {
	plain, err := proto.MarshalOptions{}.MarshalAppend([]byte{formStored}, p)
	if err != nil {
		return nil, err
	}
	if len(plain)-1 > c.cfg.MaxDecoded {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(plain)-1, c.cfg.MaxDecoded)
	}
	if c.cfg.CompressAbove > 0 && len(plain) > c.cfg.CompressAbove {
		if plain, err = c.compress(plain); err != nil {
			return nil, err
		}
	}
	data := make([]byte, nonceSize, nonceSize+len(plain)+tagSize)
	if _, err := io.ReadFull(c.cfg.Rand, data); err != nil {
		return nil, fmt.Errorf("make nonce: %w", err)
	}
	data, err = ring.byID[ring.first].seal(data, data[:nonceSize], plain, associated(Encoding, Cipher, ring.first))
	if err != nil {
		return nil, err
	}
	return &commonpb.Payload{
		Metadata: map[string][]byte{
			metaEncoding: []byte(Encoding),
			metaCipher:   []byte(Cipher),
			MetadataKey:  []byte(ring.first),
		},
		Data: data,
	}, nil
}

func (c *Codec) decrypt(p *commonpb.Payload) (*commonpb.Payload, error) {
	if string(p.GetMetadata()[metaEncoding]) != Encoding {
		if c.cfg.RequireEncrypted {
			return nil, ErrNotEncrypted
		}
		return p, nil
	}
	cipherName, id := string(p.Metadata[metaCipher]), string(p.Metadata[MetadataKey])
	if cipherName != Cipher {
		return nil, fmt.Errorf("%w: cipher %.40q is not %s", ErrCorrupt, cipherName, Cipher)
	}
	key, err := c.key(id)
	if err != nil {
		return nil, err
	}
	if len(p.Data) < nonceSize+tagSize+1 {
		return nil, fmt.Errorf("%w: %d bytes are too few", ErrCorrupt, len(p.Data))
	}
	if len(p.Data) > c.cfg.MaxDecoded+nonceSize+tagSize+1 {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(p.Data), c.cfg.MaxDecoded)
	}
	plain, err := key.open(p.Data[:nonceSize], p.Data[nonceSize:], associated(Encoding, cipherName, id))
	if err != nil {
		// The cause says nothing more: GCM cannot tell a wrong key from a
		// changed byte.
		return nil, fmt.Errorf("%w (key %q)", ErrCorrupt, id)
	}
	body := plain[1:]
	switch plain[0] {
	case formStored:
	case formDeflate:
		if body, err = c.decompress(body); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: form %d is unknown", ErrCorrupt, plain[0])
	}
	out := &commonpb.Payload{}
	if err := proto.Unmarshal(body, out); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return out, nil
}

// key finds a key by its id, once more after Config.Reload if need be.
func (c *Codec) key(id string) (*xaes, error) {
	if k := c.keys.Load().byID[id]; k != nil {
		return k, nil
	}
	unknown := fmt.Errorf("%w: id %.70q", ErrUnknownKey, id)
	if c.cfg.Reload == nil {
		return nil, unknown
	}
	c.reload.Lock()
	defer c.reload.Unlock()
	if k := c.keys.Load().byID[id]; k != nil { // another call fetched it meanwhile
		return k, nil
	}
	if now := c.cfg.Now(); c.lastReload.IsZero() || now.Sub(c.lastReload) >= reloadPause {
		c.lastReload = now
		keys, err := c.cfg.Reload()
		if err == nil {
			err = c.SetKeys(keys)
		}
		if err != nil {
			return nil, fmt.Errorf("%w; fetching the keys again: %w", unknown, err)
		}
	}
	if k := c.keys.Load().byID[id]; k != nil {
		return k, nil
	}
	return nil, unknown
}

// associated is what the ciphertext is bound to besides its key: relabelling a
// payload makes it fail. No part can contain the separator that ends it.
func associated(parts ...string) []byte {
	out := []byte("tenon payload 1\x00")
	for _, p := range parts {
		out = append(append(out, p...), 0)
	}
	return out
}

// compress returns plain, a form byte and a body, with the body compressed if
// that saves anything.
func (c *Codec) compress(plain []byte) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(len(plain) / 2)
	buf.WriteByte(formDeflate)
	w, ok := c.deflate.Get().(*flate.Writer)
	if ok {
		w.Reset(&buf)
	} else {
		var err error
		if w, err = flate.NewWriter(&buf, flate.BestSpeed); err != nil {
			return nil, err
		}
	}
	defer c.deflate.Put(w)
	if _, err := w.Write(plain[1:]); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if buf.Len() >= len(plain) {
		return plain, nil
	}
	return buf.Bytes(), nil
}

// decompress stops at Config.MaxDecoded: a few kilobytes of DEFLATE can unfold
// into gigabytes, and whoever holds a key is not therefore trusted with our
// memory.
func (c *Codec) decompress(body []byte) ([]byte, error) {
	r := flate.NewReader(bytes.NewReader(body))
	out, err := io.ReadAll(io.LimitReader(r, int64(c.cfg.MaxDecoded)+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if len(out) > c.cfg.MaxDecoded {
		return nil, fmt.Errorf("%w: more than %d bytes after decompression", ErrTooLarge, c.cfg.MaxDecoded)
	}
	return out, nil
}

// DataConverter wraps parent, or the SDK's default converter if parent is nil.
func (c *Codec) DataConverter(parent converter.DataConverter) converter.DataConverter {
	if parent == nil {
		parent = converter.GetDefaultDataConverter()
	}
	return converter.NewCodecDataConverter(parent, c)
}

// FailureConverter makes error messages and stack traces pass through a data
// converter too: they quote inputs as readily as payloads do. Give the result
// of DataConverter here, and set both in the client's options.
func FailureConverter(dc converter.DataConverter) converter.FailureConverter {
	return temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{
		DataConverter:          dc,
		EncodeCommonAttributes: true,
	})
}
