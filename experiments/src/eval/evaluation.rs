//! Computes the rows of a unit.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use laprox_reference::{Budget, OutputError, Policy};

use super::answers::{Answer, evicted_answers, full_answer};
use super::evicted::Evicted;
use super::evictions::Evictions;
use super::fidelity::{Fidelity, predictions};
use super::prefilled::Prefilled;
use super::unit::{Text, Unit, Work};
use crate::model::{Continuation, Model, Observer};
use crate::rows::{Asked, EvalRow, FULL_BUDGET, MetricName, PolicyName};
use crate::tasks::{Depth, Prompt};

/// How often scoring is timed; the median counts.
const TRIALS: usize = 3;

/// Policies by budgets, for any number of units.
pub struct Evaluation<'a> {
    /// What evicts.
    pub evictions: Evictions<'a>,
    /// How much is kept.
    pub budgets: &'a [Budget],
    /// `w`
    pub window_len: usize,
    /// How many of a text's next tokens are predicted, or decoded against the clock.
    pub future_len: usize,
    /// For policies that draw: mixed with the prompt's name.
    pub seed: u64,
}

/// What the rows of a unit share.
struct Subject<'a> {
    model: &'a Model,
    unit: &'a Unit<'a>,
    prompt: &'a str,
    question: Option<Asked>,
    depth: Option<Depth>,
    sample: usize,
    context_len: usize,
    full_cache_bytes: usize,
}

/// What is in one row alone.
struct Measured<'a> {
    evicted: Option<&'a Evicted>,
    metric: MetricName,
    value: f64,
    full_value: f64,
    cache_bytes: usize,
    answer: String,
}

impl Subject<'_> {
    fn row(&self, measured: Measured<'_>) -> EvalRow {
        let Measured { evicted, metric, value, full_value, cache_bytes, answer } = measured;
        let error = |of: fn(&Evicted) -> Option<OutputError>| {
            evicted.and_then(of).map(|error| error.relative()).filter(|error| error.is_finite())
        };
        EvalRow {
            model: self.model.name().to_owned(),
            task: self.unit.task.clone(),
            question: self.question,
            prompt: self.prompt.to_owned(),
            target: self.unit.target,
            context: self.context_len,
            depth: self.depth,
            sample: self.sample,
            policy: evicted.map_or(PolicyName::FULL, |evicted| (&evicted.policy).into()),
            budget: evicted.map_or(FULL_BUDGET, |evicted| evicted.budget),
            entries_per_head: evicted.map_or(self.context_len, |evicted| evicted.entries_per_head.0),
            metric,
            value,
            full_value,
            drop: error(|evicted| evicted.errors.drop.map(|drop| drop.layer_wise)),
            renormalised: error(|evicted| Some(evicted.errors.renormalised.layer_wise)),
            future: error(|evicted| evicted.errors.future.map(|future| future.layer_wise)),
            cache_bytes,
            full_cache_bytes: self.full_cache_bytes,
            answer,
        }
    }
}

impl Evaluation<'_> {
    /// The rows of a unit: the full cache's, then policy by policy and budget by budget. Budgets that the window leaves
    /// nothing of have none.
    ///
    /// # Errors
    /// When the model was not trained for so many tokens, or a policy refuses the activations.
    pub fn rows(&self, unit: &Unit<'_>, observer: &mut dyn Observer) -> Result<Vec<EvalRow>> {
        match &unit.work {
            Work::Answer(prompt, asked) => {
                self.answer(unit, prompt, *asked, observer).with_context(|| prompt.id.clone())
            }
            Work::Predict(text) => self.predict(unit, text, observer),
            Work::Time(text) => self.time(unit, text, observer),
        }
    }

    fn model(&self) -> &Model {
        self.evictions.model
    }

    /// The budgets that leave a context something beside its window: none if it is shorter than that.
    #[must_use]
    pub fn budgets_of(&self, context_len: usize) -> Vec<Budget> {
        let fits = |budget: &&Budget| {
            context_len >= self.window_len && budget.candidates_per_head(context_len, self.window_len).is_ok()
        };
        self.budgets.iter().filter(fits).copied().collect()
    }

    /// The tokens of a unit that run before the eviction.
    ///
    /// # Errors
    /// When a prompt cannot be rendered or tokenised.
    pub fn context_len(&self, unit: &Unit<'_>) -> Result<usize> {
        match &unit.work {
            Work::Answer(prompt, asked) => Ok(self.tokens(prompt, *asked)?.0.len()),
            Work::Predict(_) | Work::Time(_) => Ok(unit.target),
        }
    }

    /// The tokens before the eviction, and those of a question after it.
    fn tokens(&self, prompt: &Prompt, asked: Asked) -> Result<(Vec<u32>, Vec<u32>)> {
        let tokenizer = self.model().tokenizer();
        let rendered = prompt.render(self.model().chat())?;
        let mut context = tokenizer.encode(&rendered.context)?;
        let mut question = tokenizer.encode_further(&rendered.question)?;
        if asked == Asked::Aware {
            context.append(&mut question);
        }
        Ok((context, question))
    }

    fn answer(
        &self,
        unit: &Unit<'_>,
        prompt: &Prompt,
        asked: Asked,
        observer: &mut dyn Observer,
    ) -> Result<Vec<EvalRow>> {
        let (model, max_new) = (self.model(), prompt.max_new_tokens);
        let (context, question) = self.tokens(prompt, asked)?;
        let prefilled = Prefilled::new(model, &context, self.window_len, self.evictions.wanted(), observer)?;
        let full = full_answer(model, &prefilled, &question, max_new)?;
        let later = [question.as_slice(), &full.tokens].concat();
        let evicted = self.evict(&prefilled, &later, &prompt.id)?;
        let answers = evicted_answers(model, &prefilled, &evicted, &question, max_new)?;

        let subject = Subject {
            model,
            unit,
            prompt: &prompt.id,
            question: Some(asked),
            depth: prompt.facets.depth,
            sample: prompt.facets.sample,
            context_len: context.len(),
            full_cache_bytes: full.cache_bytes,
        };
        let said = |answer: &Answer| model.tokenizer().decode(&answer.tokens);
        let full_scores = prompt.scores(&said(&full)?);
        let rows = |evicted, answer: &Answer| -> Result<Vec<EvalRow>> {
            let (text, cache_bytes) = (said(answer)?, answer.cache_bytes);
            let row = |((metric, value), (_, full_value)): ((&'static str, f64), &(_, f64))| {
                let (metric, answer) = (metric.into(), text.clone());
                subject.row(Measured { evicted, metric, value, full_value: *full_value, cache_bytes, answer })
            };
            Ok(prompt.scores(&text).into_iter().zip(&full_scores).map(row).collect())
        };
        let of_evicted = evicted.iter().zip(&answers).map(|(evicted, answer)| rows(Some(evicted), answer));
        Ok(std::iter::once(rows(None, &full)).chain(of_evicted).collect::<Result<Vec<_>>>()?.concat())
    }

    fn predict(&self, unit: &Unit<'_>, text: &Text, observer: &mut dyn Observer) -> Result<Vec<EvalRow>> {
        let (context, later) = text.split(unit.target, self.future_len + 1)?;
        let (seen, targets) = (&later[..self.future_len], &later[1..]);
        let prefilled =
            Prefilled::new(self.model(), context, self.window_len, self.evictions.wanted(), observer)?;
        let evicted = self.evict(&prefilled, seen, &text.name)?;
        let predict = |sequence: Continuation| {
            let cache_bytes = sequence.cache.allocated_bytes();
            Ok::<_, anyhow::Error>((predictions(self.model(), sequence, seen)?, cache_bytes))
        };
        let (full, full_cache_bytes) = predict(prefilled.full(seen.len())?)?;
        let subject = self.subject(unit, text, full_cache_bytes);
        let rows = |evicted, found: &[Vec<f32>], cache_bytes| {
            let [value, full_value] =
                [found, &full].map(|found| Fidelity::new(&full, found, targets).metrics());
            let row = |((metric, value), (_, full_value))| {
                let answer = String::new();
                subject.row(Measured { evicted, metric, value, full_value, cache_bytes, answer })
            };
            value.into_iter().zip(full_value).map(row).collect::<Vec<_>>()
        };
        let mut all = rows(None, &full, full_cache_bytes);
        for evicted in &evicted {
            let (found, cache_bytes) = predict(prefilled.evicted(evicted, seen.len())?)?;
            all.extend(rows(Some(evicted), &found, cache_bytes));
        }
        Ok(all)
    }

    fn time(&self, unit: &Unit<'_>, text: &Text, observer: &mut dyn Observer) -> Result<Vec<EvalRow>> {
        let (context, later) = text.split(unit.target, self.future_len)?;
        let start = Instant::now();
        let prefilled =
            Prefilled::new(self.model(), context, self.window_len, self.evictions.wanted(), observer)?;
        let prefill_seconds = start.elapsed().as_secs_f64();
        let evicted = self.evict(&prefilled, &[], &text.name)?;
        let (full_speed, full_cache_bytes) = self.decode_speed(prefilled.full(later.len())?, later)?;
        let subject = self.subject(unit, text, full_cache_bytes);
        let row = |evicted, metric, value, full_value, cache_bytes| {
            let answer = String::new();
            subject.row(Measured { evicted, metric, value, full_value, cache_bytes, answer })
        };
        let mut rows = vec![
            row(None, MetricName::PREFILL_SECONDS, prefill_seconds, prefill_seconds, full_cache_bytes),
            row(None, MetricName::DECODE_SPEED, full_speed, full_speed, full_cache_bytes),
        ];
        for evicted in &evicted {
            let (speed, bytes) = self.decode_speed(prefilled.evicted(evicted, later.len())?, later)?;
            let seconds = self.score_seconds(&prefilled, &evicted.policy, evicted.budget)?;
            rows.push(row(Some(evicted), MetricName::SCORE_SECONDS, seconds, prefill_seconds, bytes));
            rows.push(row(Some(evicted), MetricName::DECODE_SPEED, speed, full_speed, bytes));
        }
        Ok(rows)
    }

    fn subject<'a>(&'a self, unit: &'a Unit<'a>, text: &'a Text, full_cache_bytes: usize) -> Subject<'a> {
        Subject {
            model: self.model(),
            unit,
            prompt: &text.name,
            question: None,
            depth: None,
            sample: 0,
            context_len: unit.target,
            full_cache_bytes,
        }
    }

    fn evict(&self, prefilled: &Prefilled<'_>, later: &[u32], name: &str) -> Result<Vec<Evicted>> {
        let budgets = self.budgets_of(prefilled.context_len());
        if budgets.is_empty() {
            return Ok(Vec::new());
        }
        self.evictions.of(prefilled, name, &budgets, later, self.seed)
    }

    /// The median over a few trials.
    fn score_seconds(&self, prefilled: &Prefilled<'_>, policy: &Policy, budget: Budget) -> Result<f64> {
        let trials = (0..TRIALS).map(|_| self.evictions.seconds(prefilled, policy, budget));
        let mut seconds = trials.collect::<Result<Vec<_>>>()?;
        seconds.sort_by(f64::total_cmp);
        Ok(seconds[TRIALS / 2])
    }

    /// Tokens per second, one at a time, and the bytes of the cache.
    fn decode_speed(&self, mut sequence: Continuation, tokens: &[u32]) -> Result<(f64, usize)> {
        ensure!(!tokens.is_empty(), "--future: expected tokens to decode, found 0");
        let start = Instant::now();
        for token in tokens {
            let hidden = self.model().forward(std::slice::from_ref(token), &mut sequence.cache, &mut ())?;
            self.model().logits(&hidden)?;
        }
        let speed = tokens.len() as f64 / start.elapsed().as_secs_f64();
        Ok((speed, sequence.cache.allocated_bytes()))
    }
}
