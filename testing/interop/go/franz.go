package main

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type franz struct{ bootstrap, topic string }

func (f franz) publish() error {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.bootstrap), kgo.DefaultProduceTopic(f.topic))
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, f.topic); err != nil {
		return err
	}
	batch := make([]*kgo.Record, records)
	for i := range batch {
		text := []byte(strconv.Itoa(i))
		batch[i] = &kgo.Record{Key: text, Value: text}
	}
	return client.ProduceSync(ctx, batch...).FirstErr()
}

func (f franz) member(want int, last bool) ([]int, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(f.bootstrap), kgo.ConsumerGroup(f.topic+"-group"), kgo.ConsumeTopics(f.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen []int
	var read []*kgo.Record
	for len(seen) < want {
		fetches := client.PollRecords(ctx, min(100, want-len(seen)))
		if err := fetches.Err(); err != nil {
			return seen, err
		}
		fetches.EachRecord(func(r *kgo.Record) { seen, read = append(seen, number(r.Value)), append(read, r) })
	}
	if err := client.CommitRecords(ctx, read...); err != nil {
		return seen, err
	}
	if last {
		more, done := context.WithTimeout(ctx, lookForTwo)
		defer done()
		client.PollRecords(more, 1).EachRecord(func(r *kgo.Record) { seen = append(seen, number(r.Value)) })
	}
	client.LeaveGroup()
	return seen, nil
}
