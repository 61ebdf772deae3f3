//! DeleteTopics, by name or by id.
//!
//! A topic that is named in both ways is deleted once, and the second mention is refused; one that
//! is named twice in the same way is not deleted at all, as Kafka has it. The records go by id, so
//! that a topic made anew under the name is never hit.

use std::collections::BTreeSet;

use config::BrokerLayers;
use protocol::internal::metadata::RemoveTopicRecord;
use protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse,
};
use types::{ErrorCode, Uuid};

use super::{Context, Decision, Refusal, split_duplicates, wire_result};
use crate::image::Image;

/// The first version that can say that deletion is switched off.
const DISABLED_CODE_SINCE: i16 = 3;

/// Decides DeleteTopics; `version` is that of the request.
pub fn delete_topics(
    image: &Image,
    request: &DeleteTopicsRequest,
    version: i16,
    context: &Context<'_>,
) -> Decision<DeleteTopicsResponse> {
    let mut deletion =
        Deletion { image, gone: BTreeSet::new(), response: DeleteTopicsResponse::default() };
    if !BrokerLayers::at_start(context.fixed).boolean("delete.topic.enable") {
        deletion.refuse_all(request, version);
        return deletion.decision();
    }
    let by_name = request.topics.iter().filter(|topic| topic.topic_id.is_zero());
    let by_name = by_name.filter_map(|topic| topic.name.as_deref());
    let names = request.topic_names.iter().map(String::as_str).chain(by_name);
    let (names_twice, names) = split_duplicates(names);
    let by_id = request.topics.iter().filter(|topic| topic.name.is_none());
    let by_id = by_id.map(|topic| topic.topic_id).filter(|id| !id.is_zero());
    let (ids_twice, ids) = split_duplicates(by_id);

    deletion.refuse_unclear(request);
    for name in names_twice {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
        deletion.answer(Some(name), Uuid::ZERO, &Err(refusal));
    }
    for &id in &ids_twice {
        let refusal = Refusal::new(ErrorCode::InvalidRequest, "Duplicate topic id.");
        deletion.answer(None, id, &Err(refusal));
    }
    ids.into_iter().for_each(|id| deletion.delete_id(id));
    names.into_iter().for_each(|name| deletion.delete_name(name, &ids_twice));
    deletion.decision()
}

/// A request half answered.
struct Deletion<'a> {
    image: &'a Image,
    gone: BTreeSet<Uuid>,
    response: DeleteTopicsResponse,
}

impl Deletion<'_> {
    fn refuse_unclear(&mut self, request: &DeleteTopicsRequest) {
        for topic in &request.topics {
            let message = match (&topic.name, topic.topic_id.is_zero()) {
                (None, true) => "Neither topic name nor id were specified.",
                (Some(_), false) => "You may not specify both topic name and topic id.",
                (None, false) | (Some(_), true) => continue,
            };
            let refusal = Err(Refusal::new(ErrorCode::InvalidRequest, message));
            self.answer(topic.name.as_deref(), topic.topic_id, &refusal);
        }
    }

    fn delete_id(&mut self, id: Uuid) {
        let Some(topic) = self.image.topic_by_id(id) else {
            let refusal = Refusal::new(ErrorCode::UnknownTopicId, format!("no topic has id {id}"));
            return self.answer(None, id, &Err(refusal));
        };
        self.gone.insert(id);
        self.answer(Some(&topic.name), id, &Ok(()));
    }

    fn delete_name(&mut self, name: &str, ids_twice: &BTreeSet<Uuid>) {
        let Some(topic) = self.image.topic(name) else {
            let message = format!("there is no topic {name:?}");
            let refusal = Refusal::new(ErrorCode::UnknownTopicOrPartition, message);
            return self.answer(Some(name), Uuid::ZERO, &Err(refusal));
        };
        let result = if self.gone.contains(&topic.id) || ids_twice.contains(&topic.id) {
            let message = "The provided topic name maps to an ID that was already supplied.";
            Err(Refusal::new(ErrorCode::InvalidRequest, message))
        } else {
            self.gone.insert(topic.id);
            Ok(())
        };
        self.answer(Some(name), topic.id, &result);
    }

    fn refuse_all(&mut self, request: &DeleteTopicsRequest, version: i16) {
        let code = if version < DISABLED_CODE_SINCE {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::TopicDeletionDisabled
        };
        let refusal = Err(Refusal::new(code, "Topic deletion is disabled."));
        for name in &request.topic_names {
            self.answer(Some(name), Uuid::ZERO, &refusal);
        }
        for topic in &request.topics {
            self.answer(topic.name.as_deref(), topic.topic_id, &refusal);
        }
    }

    fn answer(&mut self, name: Option<&str>, topic_id: Uuid, result: &Result<(), Refusal>) {
        let (error_code, error_message) = wire_result(result);
        self.response.responses.push(DeletableTopicResult {
            name: name.map(str::to_owned),
            topic_id,
            error_code,
            error_message,
            ..Default::default()
        });
    }

    fn decision(self) -> Decision<DeleteTopicsResponse> {
        let removal = |topic_id| RemoveTopicRecord { topic_id, ..Default::default() }.into();
        Decision { records: self.gone.into_iter().map(removal).collect(), response: self.response }
    }
}
