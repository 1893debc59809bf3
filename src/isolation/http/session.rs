//! A session with a product: its tenants, what they have, positive controls, and what was made.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::Value;

use super::forge::Parts;
use super::recipe::{Collection, Upload, filled};
use super::talk::{Answer, Extra, Talk};
use super::{Outcome, Target};
use crate::isolation::catalogue::known;
use crate::isolation::model::{Check, Finding, Severity};
use crate::secret::{hex, random_bytes};

/// One of the two tenants, as the product shows it.
pub(super) struct Tenant {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) parts: Parts,
    pub(super) authorization: String,
    /// Values for the recipe's paths.
    pub(super) values: BTreeMap<String, String>,
    /// By collection: the ids that its list shows; absent where it cannot be listed.
    pub(super) lists: Vec<Option<BTreeSet<String>>>,
}

/// A resource that was made, and must be removed.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) side: usize,
    pub(super) collection: usize,
    pub(super) id: String,
    pub(super) marker: String,
    path: String,
}

pub(super) struct Session<'a> {
    pub(super) target: &'a Target,
    pub(super) talk: Talk,
    pub(super) tenants: [Tenant; 2],
    pub(super) made: Vec<Made>,
    pub(super) outcome: Outcome,
    wanted: BTreeSet<&'static str>,
}

/// Returns a taxpayer's number of Brazil with its two check digits.
fn cpf(random: [u8; 9]) -> String {
    let mut digits: Vec<u32> = random.iter().map(|byte| u32::from(byte % 10)).collect();
    // Eleven times one digit is well formed and no number.
    digits[0] = (digits[1] + 1) % 10;
    while digits.len() < 11 {
        let weights = (2..=u32::try_from(digits.len()).unwrap_or_default() + 1).rev();
        let sum: u32 = digits
            .iter()
            .zip(weights)
            .map(|(digit, weight)| digit * weight)
            .sum();
        digits.push(match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        });
    }
    digits.iter().map(u32::to_string).collect()
}

/// Both directions: who asks, and whose things.
pub(super) const DIRECTIONS: [(usize, usize); 2] = [(0, 1), (1, 0)];

impl<'a> Session<'a> {
    /// Looks at what both tenants have; fails when their tokens do not work as they are.
    pub(super) async fn open(
        target: &'a Target,
        wanted: &[&'static Check],
    ) -> Result<Self, String> {
        let talk = Talk::new(&target.base)?;
        let tenant = |at: usize| {
            let side = &target.means.sides[at];
            let parts = Parts::of(&side.token)?;
            let mut values = side.variables.clone();
            values.insert("tenant".into(), side.id());
            Some(Tenant {
                name: side.name.clone(),
                id: side.id(),
                authorization: format!("Bearer {}", side.token.expose().trim()),
                parts,
                values,
                lists: Vec::new(),
            })
        };
        let (Some(a), Some(b)) = (tenant(0), tenant(1)) else {
            return Err("the tenants' tokens cannot be read".into());
        };
        if a.id == b.id {
            return Err("both tokens are of the same tenant".into());
        }
        let mut session = Self {
            target,
            talk,
            tenants: [a, b],
            made: Vec::new(),
            outcome: Outcome::default(),
            wanted: wanted.iter().map(|check| check.id).collect(),
        };
        if let Err(reason) = session.look().await {
            session.remove_all().await;
            return Err(reason);
        }
        Ok(session)
    }

    async fn look(&mut self) -> Result<(), String> {
        for at in 0..self.target.recipe.collection.len() {
            for side in 0..2 {
                if self.target.means.writes && self.collection(at).create.is_some() {
                    match self.make(side, at, None).await {
                        Ok(made) => {
                            let name = self.collection(at).name.clone();
                            self.tenants[side].values.insert(name, made.id.clone());
                            self.made.push(made);
                        }
                        Err(reason) if at == 0 => return Err(reason),
                        Err(_) => {}
                    }
                }
                let listed = self.list(side, at).await;
                if at == 0 {
                    listed.clone()?;
                }
                let listed = listed.ok();
                let name = self.collection(at).name.clone();
                let tenant = &mut self.tenants[side];
                if let Some(first) = listed.as_ref().and_then(BTreeSet::first) {
                    tenant.values.entry(name).or_insert_with(|| first.clone());
                }
                tenant.lists.push(listed);
            }
        }
        Ok(())
    }

    pub(super) fn collection(&self, at: usize) -> &'a Collection {
        &self.target.recipe.collection[at]
    }

    /// Returns true when a check is wanted.
    pub(super) fn wants(&self, id: &str) -> bool {
        self.wanted.contains(id)
    }

    /// Returns the headers that the recipe wants of a tenant.
    pub(super) fn extra(&self, side: usize) -> Extra {
        let values = &self.tenants[side].values;
        let headers = self.target.recipe.headers.iter();
        Extra {
            headers: headers
                .filter_map(|(name, value)| {
                    let value = filled(value, values)?;
                    Some((name.clone(), value))
                })
                .collect(),
            body: None,
            upload: None,
        }
    }

    /// Returns the path of a list, with the ids of `side`.
    pub(super) fn path(&self, side: usize, at: usize) -> Option<String> {
        filled(&self.collection(at).list, &self.tenants[side].values)
    }

    /// Returns the path of one resource under the parents of `side`.
    pub(super) fn path_of(&self, side: usize, at: usize, id: &str) -> Option<String> {
        let mut values = self.tenants[side].values.clone();
        values.insert("id".into(), id.to_owned());
        filled(&self.collection(at).one, &values)
    }

    /// Sends a GET as a tenant.
    pub(super) async fn get(&self, side: usize, path: &str) -> Result<Answer, String> {
        let authorization = &self.tenants[side].authorization;
        self.get_as(Some(authorization), side, path).await
    }

    /// Sends a GET with whatever authorization.
    pub(super) async fn get_as(
        &self,
        authorization: Option<&str>,
        side: usize,
        path: &str,
    ) -> Result<Answer, String> {
        self.talk
            .send(&Method::GET, path, authorization, &self.extra(side))
            .await
    }

    /// Returns the ids of a list's answer; `None` when it is no list.
    pub(super) fn ids(&self, at: usize, answer: &Answer) -> Option<BTreeSet<String>> {
        let collection = self.collection(at);
        let body = answer.json();
        let items = match &body {
            Value::Array(all) => all,
            other => match other.get(&collection.items)? {
                Value::Array(all) => all,
                // Products write an empty list as null.
                Value::Null => return Some(BTreeSet::new()),
                _ => return None,
            },
        };
        let id = |item: &Value| match item.get(&collection.id)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        Some(items.iter().filter_map(id).collect())
    }

    /// Returns what a tenant's list shows; an error when its own token is not served.
    pub(super) async fn list(&self, side: usize, at: usize) -> Result<BTreeSet<String>, String> {
        let name = &self.tenants[side].name;
        let collection = self.collection(at);
        let path = self
            .path(side, at)
            .ok_or_else(|| format!("`{}` needs an id that {name} has not", collection.list))?;
        let answer = self.get(side, &path).await?;
        if !answer.is_ok() {
            let words = answer.words();
            return Err(format!(
                "GET {path} with the own token of {name} is answered {words}"
            ));
        }
        self.ids(at, &answer).ok_or_else(|| {
            format!(
                "GET {path} is answered with no list of `{}`",
                collection.items
            )
        })
    }

    /// The positive control: both tenants are served with their own tokens.
    pub(super) async fn served(&self) -> Result<[BTreeSet<String>; 2], String> {
        Ok([self.list(0, 0).await?, self.list(1, 0).await?])
    }

    /// Makes a resource of a tenant.
    pub(super) async fn make(
        &self,
        side: usize,
        at: usize,
        key: Option<&str>,
    ) -> Result<Made, String> {
        let marker = self.marker(side, at)?;
        let answer = self.post(side, at, &marker, key, None).await?;
        self.made_of(side, at, &marker, &answer)
    }

    /// Returns what tells a resource from all others.
    fn marker(&self, side: usize, at: usize) -> Result<String, String> {
        let Some(lender) = &self.collection(at).marked_by else {
            return Ok(format!("lerianctl-probe-{}", hex(&random_bytes::<8>())));
        };
        let mut collections = self.target.recipe.collection.iter();
        let lender = collections.position(|collection| collection.name == *lender);
        let made = lender.and_then(|at| self.made_by(side, at).next());
        made.map(|made| made.marker.clone()).ok_or_else(|| {
            let (name, whose) = (&self.collection(at).name, &self.tenants[side].name);
            format!("a probe {name} of {whose} needs what it is made from, which could not be made")
        })
    }

    pub(super) async fn post(
        &self,
        side: usize,
        at: usize,
        marker: &str,
        key: Option<&str>,
        field: Option<(&str, &str)>,
    ) -> Result<Answer, String> {
        let collection = self.collection(at);
        let template = collection.create.as_deref().unwrap_or("{}");
        let mut text = template
            .replace("{marker}", marker)
            .replace("{cpf}", &cpf(random_bytes()));
        for (name, value) in &self.tenants[side].values {
            let quoted = Value::from(value.as_str()).to_string();
            text = text.replace(&format!("{{{name}}}"), quoted.trim_matches('"'));
        }
        let mut body: Value =
            serde_json::from_str(&text).map_err(|error| format!("`create` is no JSON: {error}"))?;
        if let (Some((name, value)), Some(body)) = (field, body.as_object_mut()) {
            body.insert(name.to_owned(), value.into());
        }
        let path = self
            .path(side, at)
            .ok_or_else(|| format!("`{}` needs an id that is not known", collection.list))?;
        let mut extra = self.extra(side);
        extra.body = Some(body);
        extra.upload = collection.upload.clone().map(|upload| Upload {
            content: upload.content.replace("{marker}", marker),
            ..upload
        });
        if let (Some(key), Some(header)) = (key, &self.target.recipe.idempotency_header) {
            extra.headers.push((header.clone(), key.to_owned()));
        }
        let authorization = &self.tenants[side].authorization;
        self.talk
            .send(&Method::POST, &path, Some(authorization), &extra)
            .await
    }

    /// Reads what was made from the answer.
    pub(super) fn made_of(
        &self,
        side: usize,
        at: usize,
        marker: &str,
        answer: &Answer,
    ) -> Result<Made, String> {
        let collection = self.collection(at);
        let name = &self.tenants[side].name;
        let body = answer.json();
        let id = body.get(&collection.id).and_then(Value::as_str);
        let (true, Some(id)) = (answer.is_ok(), id) else {
            return Err(format!(
                "a probe {} of {name} cannot be made: {}",
                collection.name,
                answer.words()
            ));
        };
        let path = self.path_of(side, at, id).unwrap_or_default();
        Ok(Made {
            side,
            collection: at,
            id: id.to_owned(),
            marker: marker.to_owned(),
            path,
        })
    }

    /// Removes one.
    pub(super) async fn remove(&mut self, made: &Made) {
        if !self.collection(made.collection).removable {
            let name = &self.tenants[made.side].name;
            let left = format!("{} of {name}", made.path);
            self.outcome.left_behind.push(left);
            return;
        }
        let (authorization, extra) = (
            &self.tenants[made.side].authorization,
            self.extra(made.side),
        );
        let sent = self
            .talk
            .send(&Method::DELETE, &made.path, Some(authorization), &extra);
        let gone = sent
            .await
            .is_ok_and(|answer| answer.is_ok() || answer.status == 404);
        if !gone {
            let name = &self.tenants[made.side].name;
            self.outcome
                .left_behind
                .push(format!("{} of {name}", made.path));
        }
    }

    async fn remove_all(&mut self) {
        for made in std::mem::take(&mut self.made).iter().rev() {
            self.remove(made).await;
        }
    }

    /// Removes what was made and returns the outcome.
    pub(super) async fn close(mut self) -> Outcome {
        self.remove_all().await;
        self.outcome
    }

    /// Returns what only `side` has in a collection: shown to it and not to the other, or made.
    pub(super) fn only_of(&self, side: usize, at: usize) -> BTreeSet<String> {
        let list = |side: usize| self.tenants[side].lists.get(at).cloned().flatten();
        let theirs = list(1 - side).unwrap_or_default();
        let mut own: BTreeSet<String> = list(side).unwrap_or_default();
        own.retain(|id| !theirs.contains(id));
        own.extend(self.made_by(side, at).map(|made| made.id.clone()));
        own
    }

    pub(super) fn made_by(&self, side: usize, at: usize) -> impl Iterator<Item = &Made> {
        let fits = move |made: &&Made| made.side == side && made.collection == at;
        self.made.iter().filter(fits)
    }

    /// Adds a finding: the tenant that reaches, the one that is reached.
    pub(super) fn find(
        &mut self,
        id: &'static str,
        (from, to): (usize, usize),
        object: &str,
        evidence: String,
        severity: Option<Severity>,
    ) {
        let check = known(id);
        let product = &self.target.recipe.product;
        let mut finding = Finding::new(check, self.talk.place(), format!("{product} {object}"));
        finding.severity = severity.unwrap_or(check.severity);
        finding.from = vec![self.tenants[from].name.clone()];
        finding.to = vec![self.tenants[to].name.clone()];
        finding.evidence = evidence;
        let before = self
            .outcome
            .findings
            .iter_mut()
            .find(|f| f.fingerprint == finding.fingerprint);
        if let Some(before) = before {
            // The same in the other direction.
            for (list, more) in [
                (&mut before.from, finding.from),
                (&mut before.to, finding.to),
            ] {
                list.extend(more);
                list.sort();
                list.dedup();
            }
            before.severity = before.severity.max(finding.severity);
            return;
        }
        self.outcome.findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_check_digits() {
        // The example that stands in the documentation of Midaz, and one with a check digit of 0.
        assert_eq!(cpf([9, 1, 3, 1, 5, 0, 2, 6, 0])[1..9], *"13150260");
        let valid = |text: &str| {
            let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
            [9, 10].iter().all(|&at| {
                let sum: usize = (0..at).map(|i| digits[i] as usize * (at + 1 - i)).sum();
                let digit = sum * 10 % 11 % 10;
                digits[at] as usize == digit
            })
        };
        assert!(valid("91315026015"), "the test itself");
        for first in 0..=255 {
            let number = cpf([first, 7, 0, 9, 3, first / 2, 1, 5, first / 3]);
            assert!(number.len() == 11 && valid(&number), "{number}");
        }
    }
}
