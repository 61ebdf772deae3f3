package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

type segmentio struct{ bootstrap, topic string }

func (s segmentio) publish() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := kafka.Client{Addr: kafka.TCP(s.bootstrap)}
	topic := kafka.TopicConfig{Topic: s.topic, NumPartitions: partitions, ReplicationFactor: 1}
	created, err := client.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err == nil {
		err = created.Errors[s.topic]
	}
	if err != nil {
		return err
	}
	writer := kafka.Writer{Addr: kafka.TCP(s.bootstrap), Topic: s.topic, Balancer: &kafka.Hash{}, RequiredAcks: kafka.RequireAll,
		BatchTimeout: 10 * time.Millisecond}
	defer writer.Close()
	batch := make([]kafka.Message, records)
	for i := range batch {
		text := []byte(strconv.Itoa(i))
		batch[i] = kafka.Message{Key: text, Value: text}
	}
	return writer.WriteMessages(ctx, batch...)
}

func (s segmentio) member(want int, last bool) ([]int, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{s.bootstrap}, Topic: s.topic, GroupID: s.topic + "-group",
		StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond})
	defer reader.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var seen []int
	var read []kafka.Message
	for len(seen) < want {
		message, err := reader.FetchMessage(ctx)
		if err != nil {
			return seen, err
		}
		seen, read = append(seen, number(message.Value)), append(read, message)
	}
	if err := reader.CommitMessages(ctx, read...); err != nil || !last {
		return seen, err
	}
	more, done := context.WithTimeout(ctx, lookForTwo)
	defer done()
	message, err := reader.FetchMessage(more)
	if errors.Is(err, context.DeadlineExceeded) {
		return seen, nil
	}
	return append(seen, number(message.Value)), err
}
