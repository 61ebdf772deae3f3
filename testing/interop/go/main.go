// One round of publish, subscribe in a group, commit, resume: interop CLIENT BOOTSTRAP TOPIC.
//
// A thousand records are published to three partitions; a first member reads half of them, commits and leaves; a
// second resumes; each record must have been seen once. CLIENT is franz-go, sarama or segmentio.
package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

const (
	records    = 1000
	half       = 500
	partitions = 3
	patience   = 40 * time.Second
	lookForTwo = time.Second
)

// client is what a round needs; member reads want records, commits exactly those, looks for more when it is the
// last, and leaves.
type client interface {
	publish() error
	member(want int, last bool) ([]int, error)
}

func main() {
	name, bootstrap, topic := os.Args[1], os.Args[2], os.Args[3]
	clients := map[string]client{
		"franz-go":  franz{bootstrap, topic},
		"sarama":    saramaClient{bootstrap, topic},
		"segmentio": segmentio{bootstrap, topic},
	}
	if err := round(name, clients[name]); err != nil {
		fmt.Printf("FAIL round %s: %v\n", name, err)
		os.Exit(1)
	}
}

func round(name string, client client) error {
	passed := func(step string) { fmt.Printf("PASS round %s: %s\n", name, step) }
	if err := client.publish(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	passed("publish")
	seen, err := client.member(half, false)
	if err != nil {
		return fmt.Errorf("first member: %w", err)
	}
	if len(seen) != half {
		return fmt.Errorf("the first member read %d", len(seen))
	}
	passed("subscribe and commit")
	rest, err := client.member(records-half, true)
	if err != nil {
		return fmt.Errorf("second member: %w", err)
	}
	seen = append(seen, rest...)
	different := map[int]bool{}
	for _, value := range seen {
		different[value] = true
	}
	if len(seen) != records || len(different) != records {
		return fmt.Errorf("%d records seen, %d different ones", len(seen), len(different))
	}
	passed("resume, each record once")
	return nil
}

func number(value []byte) int {
	n, err := strconv.Atoi(string(value))
	if err != nil {
		return -1
	}
	return n
}
