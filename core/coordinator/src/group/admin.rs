//! What administrators ask about groups: ListGroups, DescribeGroups, DeleteGroups.

use std::collections::BTreeSet;

use protocol::messages::delete_groups::DeletableGroupResult;
use protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use protocol::messages::list_groups::{ListGroupsRequest, ListedGroup};
use types::ErrorCode;

use crate::group::classic::{Group, State};
use crate::group::offsets::delete_all_offsets;
use crate::logged::{Generation, GroupId, Logged};
use crate::message::Outcome;
use crate::records;

/// The type of all groups here, as ListGroups names it.
const GROUP_TYPE: &str = "classic";
/// The state of a group that does not exist.
const DEAD: &str = "Dead";
/// From this version a group that does not exist has an error.
const VERSION_DESCRIBE_UNKNOWN_IS_ERROR: i16 = 6;

/// Groups with one of the states and types asked for; without a filter all of them.
pub(crate) fn list_groups<'a>(
    logged: &Logged,
    live: impl Fn(&str) -> Option<&'a Group>,
    request: &ListGroupsRequest,
) -> Vec<ListedGroup> {
    let filter = |given: &[String]| -> BTreeSet<String> {
        given.iter().map(|wanted| wanted.trim().to_ascii_lowercase()).collect()
    };
    let passes = |filter: &BTreeSet<String>, name: &str| {
        filter.is_empty() || filter.contains(&name.to_ascii_lowercase())
    };
    if !passes(&filter(&request.types_filter), GROUP_TYPE) {
        return vec![];
    }
    let states = filter(&request.states_filter);
    let listed = |(group_id, generation): (&GroupId, &Generation)| {
        let group = live(group_id);
        let state = group.map_or(State::Empty, Group::state).name();
        passes(&states, state).then(|| ListedGroup {
            group_id: group_id.to_string(),
            protocol_type: protocol_type(generation, group),
            group_state: state.to_owned(),
            group_type: GROUP_TYPE.to_owned(),
            ..Default::default()
        })
    };
    logged.groups().filter_map(listed).collect()
}

/// One group with its members. Their metadata is shown while the group is stable.
pub(crate) fn describe_group(
    logged: &Logged,
    group: Option<&Group>,
    group_id: String,
    api_version: i16,
) -> DescribedGroup {
    let Some(generation) = logged.generation(&group_id) else {
        return describe_unknown_group(group_id, api_version);
    };
    let state = group.map_or(State::Empty, Group::state);
    let protocol = group.filter(|_| state == State::Stable).and_then(Group::protocol_name);
    let members = group.into_iter().flat_map(Group::members).map(|member| DescribedGroupMember {
        member_id: member.id.to_string(),
        group_instance_id: member.instance_id.as_deref().map(str::to_owned),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.map(|name| member.metadata(name)).unwrap_or_default(),
        member_assignment: generation
            .members
            .get(&member.id)
            .map(|stored| stored.assignment.clone())
            .unwrap_or_default(),
        ..Default::default()
    });
    DescribedGroup {
        group_state: state.name().to_owned(),
        protocol_type: protocol_type(generation, group),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: members.collect(),
        group_id,
        ..Default::default()
    }
}

fn describe_unknown_group(group_id: String, api_version: i16) -> DescribedGroup {
    let described = DescribedGroup { group_state: DEAD.to_owned(), ..Default::default() };
    if api_version < VERSION_DESCRIBE_UNKNOWN_IS_ERROR {
        return DescribedGroup { group_id, ..described };
    }
    DescribedGroup {
        error_code: ErrorCode::GroupIdNotFound.to_wire(),
        error_message: Some(format!("Group {group_id} not found.")),
        group_id,
        ..described
    }
}

/// Deletes a group that has no members, with all that it has committed.
pub(crate) fn delete_group(
    logged: &Logged,
    group: Option<&Group>,
    group_id: String,
    outcome: &mut Outcome,
) -> DeletableGroupResult {
    let error = match group.map_or(State::Empty, Group::state) {
        _ if logged.generation(&group_id).is_none() => ErrorCode::GroupIdNotFound,
        State::Empty => ErrorCode::None,
        State::PreparingRebalance { .. } | State::CompletingRebalance | State::Stable => {
            ErrorCode::NonEmptyGroup
        }
    };
    if error.is_none() {
        delete_all_offsets(logged.offsets(), &group_id, outcome);
        outcome.records.push(records::group_tombstone(&group_id));
    }
    DeletableGroupResult { group_id, error_code: error.to_wire(), ..Default::default() }
}

fn protocol_type(generation: &Generation, group: Option<&Group>) -> String {
    let protocol_type = match group {
        Some(group) => group.protocol_type(),
        None => generation.protocol_type.as_deref(),
    };
    protocol_type.unwrap_or_default().to_owned()
}
