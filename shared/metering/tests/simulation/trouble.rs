//! What goes wrong, and what operators do meanwhile.

use std::collections::BTreeSet;

use portcullis_metering::Override;
use portcullis_metering::accounts::Command;

use crate::world::{Step, World};

impl World {
    pub(crate) fn trouble(&mut self) {
        if self.calm {
            return;
        }
        self.after(1_000, Step::Trouble);
        if self.chance.hits(self.plan.crashes) {
            let plane = self.chance.within(0, self.plan.planes) as usize;
            let Self { planes, chance, .. } = self;
            planes[plane].crash(chance);
            let rest = self.chance.within(0, 20_000);
            self.after(rest, Step::StartPlane { plane });
        }
        if self.control.up && self.chance.hits(self.plan.crashes / 2) {
            self.control.crash();
            let rest = self.chance.within(0, 10_000);
            self.after(rest, Step::StartControl);
        }
        if self.chance.hits(self.plan.partitions) {
            let plane = self.chance.within(0, self.plan.planes) as usize;
            self.planes[plane].cut_off = true;
            let rest = self.chance.within(0, 30_000);
            self.after(rest, Step::Heal { plane });
        }
        if !self.control.up {
            return;
        }
        let silent: BTreeSet<_> = self
            .control
            .heard
            .values()
            .filter(|(_, at)| at + 5_000 < self.now_ms)
            .map(|(holder, _)| *holder)
            .collect();
        for holder in silent {
            self.control.command(self.now_ms, &Command::WriteOff(holder)).unwrap();
        }
        if self.plan.operators && self.chance.hits(100) {
            self.operate();
        }
    }

    fn operate(&mut self) {
        let at = self.chance.within(0, self.plan.accounts.len() as u64) as usize;
        let (account, limit) = self.plan.accounts[at];
        let now = self.control.wall(self.now_ms);
        let (reason, by) = ("because".to_owned(), "somebody".to_owned());
        match self.chance.within(0, 3) {
            0 => {
                let limit = self.chance.within(1, limit * 2);
                self.configure(account, limit);
            }
            1 => {
                let limit = self.chance.within(1, limit * 3);
                self.truth.may_spend(account, limit);
                let until = now.plus(self.chance.within(0, 30_000));
                let by_override = Some(Override { limit, until });
                self.control
                    .command(self.now_ms, &Command::Override { account, by_override, reason, by })
                    .unwrap();
            }
            _ => {
                let credit = -(self.chance.within(0, limit) as i64);
                self.control.command(self.now_ms, &Command::Adjust { account, credit, reason, by }).unwrap();
            }
        }
    }
}
