//! Responses in every version of their API: what an old client cannot be told is left out, and
//! nothing that it has to be told is missing.

use protocol::Message;
use protocol::messages::delete_groups::DeleteGroupsResponse;
use protocol::messages::describe_groups::DescribeGroupsResponse;
use protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};
use thalweg_coordinator::{Request, Response, Settings};

use crate::world::{World, join_request, sync_request};

/// The body as the caller would send it.
fn encode(response: &Response, api_version: i16) -> Result<(), String> {
    let encoded = match response.clone() {
        Response::Join(response) => response.to_bytes(api_version),
        Response::Sync(response) => response.to_bytes(api_version),
        Response::Heartbeat(response) => response.to_bytes(api_version),
        Response::Leave(response) => response.to_bytes(api_version),
        Response::OffsetCommit(response) => response.to_bytes(api_version),
        Response::OffsetDelete(response) => response.to_bytes(api_version),
        Response::DeleteGroups(results) => {
            DeleteGroupsResponse { results, ..Default::default() }.to_bytes(api_version)
        }
        Response::DescribeGroups(groups) => {
            DescribeGroupsResponse { groups, ..Default::default() }.to_bytes(api_version)
        }
        Response::ListGroups { groups, .. } => {
            ListGroupsResponse { groups, ..Default::default() }.to_bytes(api_version)
        }
        Response::OffsetFetch(response) => panic!("has no version of its own: {response:?}"),
    };
    encoded.map(|_| ()).map_err(|error| format!("version {api_version}: {error}"))
}

#[test]
fn join_responses_fit_every_version() {
    for api_version in 0..=9 {
        let mut world = World::new(Settings::default());
        let mut request = join_request("g", "", &[("range", &["t"])]);
        // Instance ids came with version 5.
        request.group_instance_id = (api_version >= 5).then(|| "i".to_owned());
        let mut replies = world.join(request.clone(), api_version, "c").outcome.replies;
        if let Some((_, Response::Join(told))) = replies.first() {
            request.member_id = told.member_id.clone();
            replies.extend(world.join(request.clone(), api_version, "c").outcome.replies);
        }
        replies.extend(world.wait(3_000).into_iter().flat_map(|(_, outcome)| outcome.replies));
        request.member_id = "unknown".to_owned();
        replies.extend(world.join(request, api_version, "c").outcome.replies);
        assert!(replies.len() >= 2, "version {api_version}: {replies:?}");
        for (_, response) in &replies {
            assert_eq!(encode(response, api_version), Ok(()));
            let refused = response.clone().refused(types::ErrorCode::NotCoordinator);
            assert_eq!(encode(&refused, api_version), Ok(()));
        }
    }
}

#[test]
fn sync_responses_fit_every_version() {
    for api_version in 0..=5 {
        let mut world = World::new(Settings::default());
        let member_id = world.stable_group("g", &["t"]);
        for generation in [1, 2] {
            let request = sync_request("g", &member_id, generation, &[]);
            let response = world.ask(Request::Sync(request), api_version);
            assert_eq!(encode(&response, api_version), Ok(()));
        }
    }
}

#[test]
fn leave_responses_fit_every_version() {
    for api_version in 0..=5 {
        for group_id in ["", "g", "h"] {
            let mut world = World::new(Settings::default());
            let member_id = world.stable_group("g", &["t"]);
            let members =
                vec![MemberIdentity { member_id: member_id.clone(), ..Default::default() }];
            let group_id = group_id.to_owned();
            let request = LeaveGroupRequest { group_id, member_id, members, ..Default::default() };
            let response = world.ask(Request::Leave(request), api_version);
            assert_eq!(encode(&response, api_version), Ok(()));
        }
    }
}

#[test]
fn responses_about_groups_fit_every_version() {
    let group_ids = || ["g", "h"].map(str::to_owned).to_vec();
    for api_version in 0..=6 {
        let mut world = World::new(Settings::default());
        _ = world.stable_group("g", &["t"]);
        let response = world.ask(Request::DescribeGroups(group_ids()), api_version);
        assert_eq!(encode(&response, api_version), Ok(()));
        if api_version <= 5 {
            let request = Request::ListGroups(ListGroupsRequest::default());
            let response = world.ask(request, api_version);
            assert_eq!(encode(&response, api_version), Ok(()));
        }
        if api_version <= 2 {
            let response = world.ask(Request::DeleteGroups(group_ids()), api_version);
            assert_eq!(encode(&response, api_version), Ok(()));
        }
    }
}
