package config

import (
	"errors"
	"fmt"
	"strings"
)

// maxTopic is the longest topic MQTT can name, in bytes (MQTT 5, 1.5.4).
const maxTopic = 65535

// topicPart wants a topic or a part of one. A leading slash takes it out of
// the topic it would be under.
var topicPart = checked("a topic", checkTopic)

// topicBase wants what all relative topics are under, or nothing.
var topicBase = checked("a topic", func(s string) error {
	switch {
	case s == "":
		return nil
	case strings.HasPrefix(s, "/"):
		return fmt.Errorf("%q begins with a slash", s)
	}
	return checkTopic(s)
})

// topicPrefix wants what is put before topics, as it is.
var topicPrefix = checked("a topic prefix", func(s string) error {
	if s == "" {
		return nil
	}
	return checkCharacters(s)
})

// filters wants MQTT filters.
var filters = list(checked("a topic filter", checkFilter), `topic filters such as ["home/#"]`)

// checkTopic accepts topics without wildcards and without empty levels.
func checkTopic(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	levels := strings.TrimPrefix(s, "/")
	switch {
	case strings.HasSuffix(s, "/"):
		return fmt.Errorf("%q ends with a slash, which is added where needed", s)
	case strings.Contains(levels, "//") || strings.HasPrefix(levels, "/"):
		return fmt.Errorf("%q has an empty level", s)
	case strings.HasPrefix(levels, "$"):
		return fmt.Errorf("%q begins with $, which is kept for the broker", s)
	}
	return checkCharacters(s)
}

// checkCharacters accepts what may be in the name of a topic (MQTT 5, 4.7.1
// and 1.5.4).
func checkCharacters(s string) error {
	switch {
	case strings.ContainsAny(s, "+#"):
		return fmt.Errorf("%q has a wildcard (+ or #) in it", s)
	case len(s) > maxTopic:
		return fmt.Errorf("it is longer than %d bytes", maxTopic)
	}
	return checkVisible(s)
}

// checkFilter accepts MQTT filters (MQTT 5, 4.7.1).
func checkFilter(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	levels := strings.Split(s, "/")
	for i, level := range levels {
		switch {
		case level == "#" && i < len(levels)-1:
			return fmt.Errorf("%q goes on after #, which stands for all the rest", s)
		case level != "#" && strings.Contains(level, "#"), level != "+" && strings.Contains(level, "+"):
			return fmt.Errorf("%q: + and # stand for whole levels only", s)
		}
	}
	if levels[0] == "$share" {
		return fmt.Errorf("%q: an upstream cannot take part in a shared subscription", s)
	}
	return checkCharacters(strings.NewReplacer("+", "", "#", "").Replace(s))
}

// under puts a topic below another one, unless it begins with a slash.
func under(base, topic string) string {
	switch {
	case strings.HasPrefix(topic, "/"):
		return topic[1:]
	case base == "":
		return topic
	}
	return base + "/" + topic
}

// topicUses remembers who uses each topic.
type topicUses map[string]topicUse

type topicUse struct{ who, path string }

// claim notes that who uses the topic, and reports at path if another does.
func (t topicUses) claim(b *binder, topic, who, path string) bool {
	if len(topic) > maxTopic {
		b.bad(path, "", "the topic of %s is longer than %d bytes", who, maxTopic)
		return false
	}
	other, taken := t[topic]
	if taken {
		b.bad(path, "give one of them another topic", "%s would share the topic %q with %s%s",
			who, topic, other.who, b.inLine(other.path))
		return false
	}
	t[topic] = topicUse{who, path}
	return true
}
