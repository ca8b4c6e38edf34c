package workflows

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"
	"go.temporal.io/sdk/workflow"
)

// What a stack holds in bulk (manifests, inventory, plan) travels as lines: one
// JSON object each, which never contains a raw line feed or tab. Workflow code
// moves them about and reads no more than it needs: decoding thousands of
// resources would take longer than a workflow task may, and would tie recorded
// histories to one version of the resource language.

// maxUnpacked bounds what a compressed text may become. It stops a small text
// that would fill the worker's memory.
const maxUnpacked = 4 * MaxManifestBytes

// maxWindow is how far back a text may repeat itself to be compressed by it.
const maxWindow = 64 << 20

// errTooLarge says that something exceeds what a stack may hold.
var errTooLarge = errors.New("too large for one stack")

// pack compresses lines into one Zstandard stream. Its window spans all of them:
// a plan and an inventory hold the same resources, and the second costs little.
func pack(lines [][]byte) ([]byte, error) { return packWith(lines, zstd.SpeedDefault) }

// packFast is pack for what is not kept.
func packFast(lines [][]byte) ([]byte, error) { return packWith(lines, zstd.SpeedFastest) }

func packWith(lines [][]byte, level zstd.EncoderLevel) ([]byte, error) {
	size := 0
	for _, l := range lines {
		size += len(l) + 1
	}
	if size > maxUnpacked {
		return nil, fmt.Errorf("%d MB of text: %w", size>>20, errTooLarge)
	}
	// The window costs memory, and time to clear it, however short the text is.
	window := zstd.MinWindowSize
	for window < size && window < maxWindow {
		window *= 2
	}
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(level), zstd.WithWindowSize(window))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	text := make([]byte, 0, size)
	for _, l := range lines {
		text = append(append(text, l...), '\n')
	}
	return w.EncodeAll(text, make([]byte, 0, size/4)), nil
}

// unpack is the inverse of pack. Nil is no lines.
func unpack(data []byte, limit int) ([][]byte, error) {
	if len(data) == 0 {
		return nil, nil
	}
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(limit)), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	defer r.Close()
	text, err := r.DecodeAll(data, nil)
	if err != nil {
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			return nil, fmt.Errorf("more than %d MB of text: %w", limit>>20, errTooLarge)
		}
		return nil, fmt.Errorf("decompress: %w", err)
	}
	lines := bytes.Split(text, []byte{'\n'})
	if last := len(lines) - 1; len(lines[last]) == 0 {
		lines = lines[:last]
	}
	return lines, nil
}

// breathe lets the SDK see that a workflow with much to do is alive: a coroutine
// that does not yield for a second is taken for stuck, and on a busy machine some
// thousand resources take that long. It adds nothing to the history.
func breathe(ctx workflow.Context) {
	f, done := workflow.NewFuture(ctx)
	workflow.Go(ctx, func(workflow.Context) { done.SetValue(nil) })
	_ = f.Get(ctx, nil) // it has no error
}

// PackResources makes a bundle of resources in JSON: what StackUpload carries.
func PackResources(resources []json.RawMessage) ([]byte, error) {
	lines := make([][]byte, len(resources))
	for i, r := range resources {
		var line bytes.Buffer
		if err := json.Compact(&line, r); err != nil {
			return nil, fmt.Errorf("resource %d: %w", i, err)
		}
		lines[i] = line.Bytes()
	}
	return pack(lines)
}

// bulk is a list of JSON texts in an activity's input or result: as they are if
// they are short, so that people can read them in a history, and compressed
// otherwise.
type bulk struct {
	Plain []json.RawMessage `json:"plain,omitempty"`
	Zstd  []byte            `json:"zstd,omitempty"`
}

// plainBytes is what is short.
const plainBytes = 8 << 10

func newBulk(lines [][]byte) (bulk, error) {
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if size > plainBytes {
		packed, err := pack(lines)
		return bulk{Zstd: packed}, err
	}
	b := bulk{Plain: make([]json.RawMessage, len(lines))}
	for i, l := range lines {
		b.Plain[i] = l
	}
	return b, nil
}

func (b bulk) lines() ([][]byte, error) {
	if b.Zstd != nil {
		return unpack(b.Zstd, maxUnpacked)
	}
	lines := make([][]byte, len(b.Plain))
	for i, p := range b.Plain {
		lines[i] = p
	}
	return lines, nil
}

// sortedKeys are a map's keys in an order that is the same in every replay.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	//workflowcheck:ignore they are sorted below
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
