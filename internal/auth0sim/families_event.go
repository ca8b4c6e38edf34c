package auth0sim

import (
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/tenonhq/tenon/internal/auth0sim/state"
)

var streamMissing = notFound("", "The requested stream does not exist.")

func eventFamilies() []*family {
	return []*family{
		{
			path: "/event-streams", kind: state.EventStreamID, missing: streamMissing, idempotentDelete: true, stamped: true,
			list: listing{wrap: "eventStreams", checkpoint: true, always: true}, defaults: `{"status": "enabled", "subscriptions": []}`,
			unique: "name", clash: conflict("", "You have reached the maximum number of event streams for your account OR Event stream name already in use."),
			prepare: func(c *call, d doc) error {
				configuration := obj(obj(d, "destination"), "configuration")
				switch str(obj(d, "destination"), "type") {
				case "eventbridge":
					configuration["aws_partner_event_source"] = "aws.partner/auth0.com/" + c.tenant.name + "-" + c.NewID(state.UUID) + "/auth0.events"
				case "action":
					a, found, err := c.Get("actions", str(configuration, "action_id"))
					if err != nil {
						return err
					}
					if !found {
						return refuse(http.StatusBadRequest, "", "The action does not exist.")
					}
					if !supports(a, "event-stream") {
						return refuse(http.StatusBadRequest, "", "The action does not support the event-stream trigger.")
					}
				}
				return listenFrom(c.Tx, d)
			},
			change: func(_ *call, old, d, _ doc) error {
				before, after := obj(old, "destination"), obj(d, "destination")
				if str(before, "type") != str(after, "type") {
					return refuse(http.StatusBadRequest, "", "The destination type of an event stream cannot be changed.")
				}
				if str(before, "type") == "eventbridge" {
					d["destination"] = before
				}
				return nil
			},
			show: func(_ *call, d doc) (any, error) { return showStream(d), nil },
			gone: func(c *call, d doc) error {
				if _, err := c.DeleteWhere("deliveries", "event_stream_id", str(d, "id")); err != nil {
					return err
				}
				// An action that a stream delivers to goes with the stream.
				action := str(obj(obj(d, "destination"), "configuration"), "action_id")
				if action == "" {
					return nil
				}
				if _, err := c.DeleteWhere("actions/versions", "action_id", action); err != nil {
					return err
				}
				_, err := c.Delete("actions", action)
				return err
			},
		},
		{
			path: "/log-streams", kind: state.LogStreamID, missing: notFound("", "The log stream does not exist."), idempotentDelete: true,
			created: http.StatusOK, list: listing{bare: true}, defaults: `{"status": "active"}`, prepare: newLogStream,
			change: func(_ *call, old, d, patch doc) error {
				sink := obj(d, "sink")
				if has([]string{"eventbridge", "eventgrid"}, str(d, "type")) {
					d["sink"] = old["sink"]
				} else if _, given := patch["sink"]; given {
					fillGaps(sink, obj(old, "sink"))
				}
				return trimFilters(d)
			},
			show: func(_ *call, d doc) (any, error) {
				out := state.Clone(state.Public(d))
				if sink := obj(out, "sink"); sink["mixpanelServiceAccountPassword"] != nil {
					sink["mixpanelServiceAccountPassword"] = "********"
				}
				return out, nil
			},
		},
	}
}

func supports(action doc, trigger string) bool {
	for _, e := range list(action, "supported_triggers") {
		if t, _ := e.(doc); str(t, "id") == trigger {
			return true
		}
	}
	return false
}

func newLogStream(c *call, d doc) error {
	if str(d, "type") == "eventbridge" {
		obj(d, "sink")["awsPartnerEventSource"] = "aws.partner/auth0.com/" + c.tenant.name + "-" + c.NewID(state.UUID) + "/auth0.logs"
	}
	return trimFilters(d)
}

func trimFilters(d doc) error {
	if l, isList := d["filters"].([]any); isList && len(l) == 0 {
		delete(d, "filters")
	}
	return nil
}

// showStream leaves the secrets of a webhook's authorization out.
func showStream(d doc) doc {
	out := state.Clone(state.Public(d))
	if auth := obj(obj(obj(out, "destination"), "configuration"), "webhook_authorization"); auth != nil {
		for _, k := range []string{"token", "password", "header_value"} {
			delete(auth, k)
		}
	}
	return out
}

func loadStream(c *call, missing *apiError) (doc, error) {
	d, found, err := c.Get("event-streams", c.params[0])
	if err == nil && !found {
		err = missing
	}
	return d, err
}

// Errors of the parts below a stream have words of their own.
var (
	deliveriesStreamMissing = notFound("", "The event stream does not exist.")
	eventMissing            = notFound("", "The event does not exist.")
)

// deliveryState is what a delivery document's state says inside the simulator;
// the API shows failed ones alone.
const (
	statePending   = "pending"
	stateFailed    = "failed"
	stateDelivered = "delivered"
)

func showDelivery(_ *call, d doc) (any, error) {
	out := state.Public(d)
	delete(out, "day")
	return out, nil
}

func eventHandlers() map[string]handler {
	out := map[string]handler{
		"POST /event-streams/{}/test": func(c *call) (answer, error) {
			s, err := loadStream(c, streamMissing)
			if err != nil {
				return answer{}, err
			}
			kind := str(c.object(), "event_type")
			data := obj(c.object(), "data")
			if data == nil {
				data = doc{"object": sampleObject(c, kind)}
			}
			event := doc{"specversion": "1.0", "id": c.NewID(state.EventID), "source": "urn:auth0:" + c.tenant.name, "type": kind, "time": state.Timestamp(c.Now()),
				"data": data, "a0purpose": "test", "a0tenant": c.tenant.name}
			d, err := enqueue(c.Tx, s, event)
			if err != nil {
				return answer{}, err
			}
			v, err := showDelivery(c, d)
			return answer{status: http.StatusAccepted, body: v}, err
		},
		"GET /event-streams/{}/deliveries": listDeliveries,
		"GET /event-streams/{}/deliveries/{}": func(c *call) (answer, error) {
			if _, err := loadStream(c, deliveriesStreamMissing); err != nil {
				return answer{}, err
			}
			d, found, err := c.Get("deliveries", state.Key(c.params...))
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, eventMissing
			}
			v, err := showDelivery(c, d)
			return answer{status: http.StatusOK, body: v}, err
		},
		"POST /event-streams/{}/redeliver": func(c *call) (answer, error) {
			if _, err := loadStream(c, deliveriesStreamMissing); err != nil {
				return answer{}, err
			}
			body := c.object()
			docs, err := c.Find("deliveries", "event_stream_id", c.params[0])
			if err != nil {
				return answer{}, err
			}
			match := deliveryFilter(toStrings(list(body, "statuses")), toStrings(list(body, "event_types")), str(body, "date_from"), str(body, "date_to"))
			for _, d := range docs {
				if str(d, "status") == stateFailed && match(d) {
					if err := retry(c, d); err != nil {
						return answer{}, err
					}
				}
			}
			return answer{status: http.StatusAccepted, body: doc{}}, nil
		},
		"POST /event-streams/{}/redeliver/{}": func(c *call) (answer, error) {
			if _, err := loadStream(c, deliveriesStreamMissing); err != nil {
				return answer{}, err
			}
			d, found, err := c.Get("deliveries", state.Key(c.params...))
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, eventMissing
			}
			if str(d, "status") != stateFailed {
				return answer{}, conflict("", "One or more events is not in a state that allows redelivery.")
			}
			if err := retry(c, d); err != nil {
				return answer{}, err
			}
			return answer{status: http.StatusAccepted, body: doc{}}, nil
		},
		"GET /event-streams/{}/stats": streamStats,
		"GET /logs":                   listLogs,
		"GET /logs/{}": func(c *call) (answer, error) {
			d, found, err := c.Get("logs", c.id())
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, notFound("inexistent_log", "The log does not exist.")
			}
			return ok(d)
		},
	}
	streams := eventFamilies()[0]
	streams.fill()
	out["PATCH /event-streams/{}"] = func(c *call) (answer, error) {
		d, err := streams.get(c)
		if err != nil {
			return answer{}, err
		}
		if str(c.object(), "status") == "enabled" && str(d, "status") == "disabled" {
			failed, err := countFailed(c.Tx, str(d, "id"))
			if err != nil {
				return answer{}, err
			}
			if failed >= maxFailed {
				return answer{}, refuse(http.StatusBadRequest, "", "The event stream cannot be enabled while it has %d or more failed deliveries.", maxFailed)
			}
			state.PrivateOf(d)["consecutive_failures"] = 0.0
			if err := listenFrom(c.Tx, d); err != nil {
				return answer{}, err
			}
		}
		if err := streams.patch(c, d, c.object()); err != nil {
			return answer{}, err
		}
		return streams.answer(c, http.StatusOK, d)
	}
	return out
}

// retry queues a failed delivery again, under the same event id.
func retry(c *call, d doc) error {
	d["status"] = statePending
	d["attempts"] = append(list(d, "attempts"), doc{"status": "retrying", "timestamp": state.Timestamp(c.Now())})
	return c.Put("deliveries", state.Key(str(d, "event_stream_id"), str(d, "id")), d)
}

func deliveryFilter(statuses, types []string, from, to string) func(doc) bool {
	after, errFrom := time.Parse(time.RFC3339, from)
	before, errTo := time.Parse(time.RFC3339, to)
	return func(d doc) bool {
		at, err := time.Parse(time.RFC3339, str(obj(d, "event"), "time"))
		return (len(statuses) == 0 || has(statuses, str(d, "status"))) && (len(types) == 0 || has(types, str(d, "event_type"))) &&
			(errFrom != nil || err == nil && !at.Before(after)) && (errTo != nil || err == nil && !at.After(before))
	}
}

func splitList(values []string) []string {
	var out []string
	for _, v := range values {
		for _, p := range strings.Split(v, ",") {
			if p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

func listDeliveries(c *call) (answer, error) {
	if _, err := loadStream(c, deliveriesStreamMissing); err != nil {
		return answer{}, err
	}
	match := deliveryFilter(splitList(c.query["statuses"]), splitList(c.query["event_types"]), c.query.Get("date_from"), c.query.Get("date_to"))
	return c.list(listing{family: "deliveries", index: "event_stream_id", value: c.params[0], wrap: "deliveries", checkpoint: true,
		where: func(d doc) bool { return str(d, "status") == stateFailed && match(d) }, show: showDelivery})
}

// streamStats counts deliveries by day over the last fifteen days.
func streamStats(c *call) (answer, error) {
	s, err := loadStream(c, streamMissing)
	if err != nil {
		return answer{}, err
	}
	const days = 15
	today := c.Now().Truncate(24 * time.Hour)
	start := today.AddDate(0, 0, -(days - 1))
	buckets := make([]any, days)
	good, bad := make([]int, days), make([]int, days)
	for i := range days {
		buckets[i] = start.AddDate(0, 0, i).Format("2006-01-02T15:04:05.000Z")
	}
	docs, err := c.Find("deliveries", "event_stream_id", c.params[0])
	if err != nil {
		return answer{}, err
	}
	for _, d := range docs {
		at, err := time.Parse(time.RFC3339, str(obj(d, "event"), "time"))
		if err != nil {
			continue
		}
		day := int(math.Floor(at.Sub(start).Hours() / 24))
		if day < 0 || day >= days {
			continue
		}
		switch str(d, "status") {
		case stateDelivered:
			good[day]++
		case stateFailed:
			bad[day]++
		}
	}
	metric := func(name string, data []int) doc {
		total := 0
		for _, n := range data {
			total += n
		}
		return doc{"name": "auth0.event_streams." + name, "window_total": total, "type": "sum", "data": data}
	}
	return ok(doc{"id": s["id"], "name": s["name"],
		"window":  doc{"date_from": buckets[0], "date_to": today.AddDate(0, 0, 1).Format("2006-01-02T15:04:05.000Z"), "bucket_interval": doc{"scale_factor": 86400}},
		"buckets": buckets, "metrics": []any{metric("successful_deliveries", good), metric("failed_deliveries", bad)}})
}

// listLogs reads the tenant's log: forwards from an entry, or by search.
func listLogs(c *call) (answer, error) {
	if from := c.query.Get("from"); from != "" || c.query.Has("take") {
		after := ""
		if from != "" {
			_, found, err := c.Get("logs", from)
			if err != nil {
				return answer{}, err
			}
			if !found {
				return answer{}, refuse(http.StatusBadRequest, "invalid_query_string", "The checkpoint log id does not exist.")
			}
			after = from
		}
		take := c.number("take", 50)
		out := []any{}
		seen := after == ""
		err := c.Scan("logs", func(d doc) (bool, error) {
			if seen {
				out = append(out, c.fields(state.Public(d)))
			}
			seen = seen || str(d, "log_id") == after
			return len(out) < take, nil
		})
		if err != nil {
			return answer{}, err
		}
		return ok(out)
	}
	query, err := parseQuery(c.query.Get("q"))
	if err != nil {
		return answer{}, refuse(http.StatusBadRequest, "invalid_query", "%s", err.Error())
	}
	ascending := strings.HasSuffix(c.query.Get("sort"), ":1")
	return c.list(listing{family: "logs", wrap: "logs", newestFirst: !ascending, where: query.matches})
}

// sampleObject is what a test event carries when the request has no data.
func sampleObject(c *call, kind string) doc {
	now := state.Timestamp(c.Now())
	switch {
	case strings.HasPrefix(kind, "organization.member"):
		o := doc{"organization": doc{"id": "org_pjQmMmAD9NCsBgBv", "name": "my-organization"}, "user": doc{"user_id": "auth0|507f1f77bcf86cd799439020"}}
		if strings.Contains(kind, "role") {
			o["role"] = doc{"id": "rol_Cd6hFNAk0h1yGtk7", "name": "admin"}
		}
		return o
	case strings.HasPrefix(kind, "organization.connection"):
		return doc{"organization": doc{"id": "org_pjQmMmAD9NCsBgBv"}, "connection": doc{"id": "con_oZhIRMF97W9tSuCl"}}
	case strings.HasPrefix(kind, "organization"):
		return doc{"id": "org_pjQmMmAD9NCsBgBv", "name": "my-organization", "display_name": "My Organization"}
	case strings.HasPrefix(kind, "group"):
		return doc{"id": "grp_1fPR7nDgQbKDNa6Z", "name": "Engineering", "type": "connection"}
	case strings.HasPrefix(kind, "connection"):
		return doc{"id": "con_oZhIRMF97W9tSuCl", "name": "my-connection", "strategy": "auth0"}
	default:
		return doc{"user_id": "auth0|507f1f77bcf86cd799439020", "email": "john.doe@gmail.com", "email_verified": false, "name": "John Doe", "nickname": "john.doe",
			"given_name": "John", "family_name": "Doe", "picture": "https://s.gravatar.com/avatar/", "created_at": now, "updated_at": now,
			"identities": []any{doc{"connection": "Username-Password-Authentication", "user_id": "507f1f77bcf86cd799439020", "provider": "auth0", "isSocial": false}}}
	}
}
