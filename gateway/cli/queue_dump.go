package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"sluice/mqttcore"
	"sluice/mqttcore/store"
)

// queuedMessage is one line of `sluice queue dump`.
type queuedMessage struct {
	Session string           `json:"session"` // kind and name
	Lane    int              `json:"lane"`
	Seq     uint64           `json:"seq"`
	Time    time.Time        `json:"time"` // when it was stored
	Topic   string           `json:"topic"`
	QoS     byte             `json:"qos"`
	Retain  bool             `json:"retain"`
	Sent    bool             `json:"sent"` // handed out before, and not acknowledged
	Expires *uint32          `json:"expires_seconds,omitempty"`
	Props   *queueProperties `json:"properties,omitempty"`
	Text    *string          `json:"payload,omitempty"`
	Base64  []byte           `json:"payload_base64,omitempty"` // where it is no UTF-8
}

type queueProperties struct {
	UTF8            bool        `json:"utf8,omitempty"` // payload format indicator
	ContentType     string      `json:"content_type,omitempty"`
	ResponseTopic   string      `json:"response_topic,omitempty"`
	CorrelationData []byte      `json:"correlation_data_base64,omitempty"`
	User            [][2]string `json:"user,omitempty"`
}

// errLimit ends a dump that has as many lines as were asked for.
var errLimit = errors.New("limit")

func newQueueDump(o *queueFlags) *cobra.Command {
	var limit uint64
	cmd := &cobra.Command{
		Use:   "dump [NAME]",
		Short: "Print what is queued as JSON lines, oldest first",
		Long: `Prints every message that waits for NAME, or for everyone: one JSON object a
line, session by session, in the order in which they will be delivered. NAME is a
name that 'sluice queue ls' shows, with its kind where there are several.`,
		Example: `  sluice queue dump cloud
  sluice queue dump 'client panel' --limit 10`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.look(cmd.Context(), func(_ string, i *store.Inspection) error {
				queues, err := i.Queues()
				if err == nil && len(args) == 1 {
					queues, err = named(queues, args[0])
				}
				if err != nil {
					return err
				}
				out := bufio.NewWriter(cmd.OutOrStdout())
				err = dump(out, i, queues, limit)
				return errors.Join(err, out.Flush())
			})
		},
	}
	cmd.Flags().Uint64Var(&limit, "limit", 0, "print at most so many `messages`; 0 = all")
	return cmd
}

// named finds what goes by a name: one session, or the lanes of one upstream.
func named(queues []store.QueueInfo, name string) ([]store.QueueInfo, error) {
	found := map[string][]store.QueueInfo{}
	var known []string
	for _, q := range queues {
		of := ownerOf(q.Client)
		if name == of.name || name == of.String() {
			found[of.kind] = append(found[of.kind], q)
		}
		if of.lane == 1 {
			known = append(known, shown(of.String(), 60))
		}
	}
	switch {
	case len(found) > 1:
		return nil, usageError{fmt.Errorf("%q: there are several; write the kind before it, as in 'upstream %s'", name, name)}
	case len(found) == 1:
		for _, lanes := range found {
			return lanes, nil
		}
	case len(known) > 20:
		known = append(known[:20], "…")
	}
	return nil, fmt.Errorf("%q: nothing is stored for it; there is: %s", name, strings.Join(known, ", "))
}

func dump(out io.Writer, i *store.Inspection, queues []store.QueueInfo, limit uint64) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	n := uint64(0)
	for _, q := range queues {
		of := ownerOf(q.Client)
		err := i.Each(q.ID, func(d *store.Delivery) error {
			m := messageOf(d)
			m.Session, m.Lane = of.String(), of.lane
			if err := enc.Encode(m); err != nil {
				return err
			}
			if n++; n == limit {
				return errLimit
			}
			return nil
		})
		if errors.Is(err, errLimit) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func messageOf(d *store.Delivery) *queuedMessage {
	m := &queuedMessage{
		Seq: d.Seq, Time: d.At.UTC(), Topic: string(d.Topic), QoS: d.QoS, Retain: d.Retain, Sent: d.Sent, Props: propertiesOf(d.Props),
	}
	if d.HasExpiry {
		m.Expires = &d.Expiry
	}
	if utf8.Valid(d.Payload) {
		text := string(d.Payload)
		m.Text = &text
	} else {
		m.Base64 = d.Payload
	}
	return m
}

// propertiesOf decodes the properties that travel with a message.
func propertiesOf(raw []byte) *queueProperties {
	p, err := mqttcore.ParseProperties(raw)
	if err != nil || len(raw) == 0 {
		return nil
	}
	q := &queueProperties{UTF8: p.UTF8, ContentType: p.ContentType, ResponseTopic: p.ResponseTopic, CorrelationData: p.Correlation}
	for _, u := range p.User {
		q.User = append(q.User, [2]string{u.Key, u.Value})
	}
	return q
}
