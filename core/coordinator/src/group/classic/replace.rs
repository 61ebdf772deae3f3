//! A static member that comes back without its member id, after a restart: it takes the place of
//! its former self (KIP-345).

use protocol::messages::join_group::JoinGroupResponse;
use types::ErrorCode;

use super::join::Join;
use super::sync::sync_refusal;
use super::{Group, State, Turn, answer, join_refusal};
use crate::logged::MemberId;
use crate::message::Response;
use crate::records;
use crate::timers::{Deadline, Timer};

/// From this version a leader can be told that it leads but need not assign (KIP-814).
const VERSION_SKIP_ASSIGNMENT: i16 = 9;

impl Group {
    /// Gives the place of the member `away` to the one that joins. In a stable group that need
    /// not disturb the others: the new one gets the old one's assignment.
    pub(super) fn replace_member(&mut self, join: Join, away: &str, turn: &mut Turn<'_>) {
        let former_leader = self.leader.clone();
        let member_id = join.new_member_id.clone();
        self.rename_member(away, &member_id, turn);
        self.update_member(&member_id, join, turn);
        self.extend_session(&member_id, turn);
        match self.state {
            State::Stable if self.protocol_name() == Some(&self.select_protocol()) => {
                self.keep_generation(away, &member_id, former_leader, turn);
            }
            // The leader may have been told of the old id, to which it would assign in vain.
            State::CompletingRebalance | State::Stable => self.rebalance(turn),
            State::PreparingRebalance { .. } | State::Empty => self.rebalance_or_complete(turn),
        }
    }

    /// Whoever still uses the old id is a duplicate and is fenced.
    fn rename_member(&mut self, away: &str, member_id: &MemberId, turn: &mut Turn<'_>) {
        let Some(mut member) = self.members.remove(away) else { return };
        let fenced = ErrorCode::FencedInstanceId;
        answer(&mut member.joining, turn, |p| join_refusal(fenced, away, p.api_version));
        answer(&mut member.syncing, turn, |_| sync_refusal(fenced));
        member.session.cancel(turn.timers, Timer::Session(self.id.clone(), member.id.clone()));
        member.id = member_id.clone();
        member.session = Deadline::default();
        member.is_new = false;
        if let Some(instance_id) = &member.instance_id {
            self.instances.insert(instance_id.clone(), member_id.clone());
        }
        if self.unsynced.remove(away) {
            self.unsynced.insert(member_id.clone());
        }
        if self.is_leader(away) {
            self.leader = Some(member_id.clone());
        }
        self.members.insert(member_id.clone(), member);
    }

    /// Writes the generation with the new id and tells the member that it is in it.
    fn keep_generation(
        &mut self,
        away: &str,
        member_id: &MemberId,
        former_leader: Option<MemberId>,
        turn: &mut Turn<'_>,
    ) {
        let generation = self.to_generation(|id| {
            let stored = turn.stored_member(if id == &**member_id { away } else { id })?;
            Some(stored.assignment.clone())
        });
        turn.outcome.records.push(records::group(&self.id, &generation));
        let leads = self.is_leader(member_id);
        let roster = if leads { self.roster() } else { vec![] };
        let reply = self.joined(member_id, roster);
        let Some(member) = self.members.get_mut(member_id) else { return };
        answer(&mut member.joining, turn, |parked| {
            Response::Join(if parked.api_version >= VERSION_SKIP_ASSIGNMENT {
                JoinGroupResponse { skip_assignment: leads, ..reply }
            } else {
                // An older leader that knew of its office would assign, and to nobody's use.
                let leader = former_leader.as_deref().unwrap_or_default().to_owned();
                JoinGroupResponse { leader, members: vec![], ..reply }
            })
        });
    }
}
