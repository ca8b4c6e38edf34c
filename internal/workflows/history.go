package workflows

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
)

// ExportHistory reads a run's history and returns it as the JSON that Temporal's
// replayer, UI and CLI read. With a codec, payloads and failure messages are
// decoded first, so that the history replays without its keys; nil leaves them as
// they are. An empty runID means the latest run.
func ExportHistory(ctx context.Context, c client.Client, codec converter.PayloadCodec, id, runID string) ([]byte, error) {
	var history historypb.History
	events := c.GetWorkflowHistory(ctx, id, runID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return nil, fmt.Errorf("read the history of %s: %w", id, err)
		}
		history.Events = append(history.Events, event)
	}
	if codec != nil {
		err := proxy.VisitPayloads(ctx, &history, proxy.VisitPayloadsOptions{
			SkipSearchAttributes: true, // never encoded: the server reads them
			Visitor: func(_ *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
				return codec.Decode(payloads)
			},
		})
		if err != nil {
			return nil, fmt.Errorf("decode the history of %s: %w", id, err)
		}
	}
	compact, err := protojson.Marshal(&history)
	if err != nil {
		return nil, fmt.Errorf("write the history of %s: %w", id, err)
	}
	// protojson varies its white space on purpose; a recorded file must not.
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", " "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
