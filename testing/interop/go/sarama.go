package main

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

type saramaClient struct{ bootstrap, topic string }

func (s saramaClient) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = false
	return config
}

func (s saramaClient) publish() error {
	admin, err := sarama.NewClusterAdmin([]string{s.bootstrap}, s.config())
	if err != nil {
		return err
	}
	defer admin.Close()
	detail := sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1}
	if err := admin.CreateTopic(s.topic, &detail, false); err != nil {
		return err
	}
	producer, err := sarama.NewSyncProducer([]string{s.bootstrap}, s.config())
	if err != nil {
		return err
	}
	defer producer.Close()
	batch := make([]*sarama.ProducerMessage, records)
	for i := range batch {
		text := sarama.StringEncoder(strconv.Itoa(i))
		batch[i] = &sarama.ProducerMessage{Topic: s.topic, Key: text, Value: text}
	}
	return producer.SendMessages(batch)
}

func (s saramaClient) member(want int, last bool) ([]int, error) {
	group, err := sarama.NewConsumerGroup([]string{s.bootstrap}, s.topic+"-group", s.config())
	if err != nil {
		return nil, err
	}
	defer group.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reader := &saramaReader{want: want, last: last, stop: cancel}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{s.topic}, reader); err != nil {
			return nil, err
		}
	}
	return reader.seen, nil
}

// saramaReader is called from one goroutine a partition.
type saramaReader struct {
	sync.Mutex
	want int
	last bool
	seen []int
	stop func()
}

func (r *saramaReader) Setup(sarama.ConsumerGroupSession) error { return nil }

// Cleanup runs when every partition's goroutine has ended, while the membership still stands.
func (r *saramaReader) Cleanup(session sarama.ConsumerGroupSession) error {
	session.Commit()
	return nil
}

func (r *saramaReader) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case <-session.Context().Done():
			return nil
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			r.take(session, message)
		}
	}
}

func (r *saramaReader) take(session sarama.ConsumerGroupSession, message *sarama.ConsumerMessage) {
	r.Lock()
	defer r.Unlock()
	if len(r.seen) >= r.want && !r.last {
		return
	}
	r.seen = append(r.seen, number(message.Value))
	session.MarkMessage(message, "")
	if len(r.seen) != r.want {
		return
	}
	if r.last {
		time.AfterFunc(lookForTwo, r.stop)
	} else {
		r.stop()
	}
}
