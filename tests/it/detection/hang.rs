//! An API server that hangs breaks no watch: silence counts up to its last sign of life.

use sheetanchor::domain::health::Verdict;
use sheetanchor::state::action::{Action, Event};

use crate::stage::{Stage, ms, s};

/// One cluster with a period of 10 s, which beat for the last time at 20 s.
fn lone() -> Stage {
    let mut stage = Stage::with(&[("a", 10)]);
    stage.beats(&["a"], s(10), 2);
    stage
}

fn questions(stage: &Stage) -> usize {
    stage.log.iter().filter(|(_, action)| matches!(action, Action::Ask(..))).count()
}

/// The API server goes on, and answers first what it was asked while it hung.
fn wake(stage: &mut Stage) {
    stage.answers = true;
    let asked = stage.log.iter().rev().find_map(|(_, action)| match action {
        Action::Ask(number, _) => Some(*number),
        _ => None,
    });
    stage.tell(Event::Answered(asked.expect("asked")));
}

#[test]
fn no_verdict_without_an_answer_that_is_younger_than_the_limit() {
    let mut stage = lone();
    stage.run(s(29) + ms(500));
    stage.answers = false;
    stage.run(s(1));
    assert_eq!(stage.verdict("a"), Verdict::Late, "past its limit by 500 ms, and nobody answers");
    assert!(!stage.snapshot().blind, "a second is nothing");
    wake(&mut stage);
    assert_eq!(stage.verdict("a"), Verdict::Lost);
}

#[test]
fn a_hang_is_blind_time() {
    let mut stage = lone();
    stage.run(s(15));
    stage.answers = false;
    stage.run(s(60));
    assert!(stage.snapshot().blind, "{:?}", stage.snapshot());
    assert_eq!(stage.verdict("a"), Verdict::Ready, "it was silent for 15 s, and hidden for 60 s");
    assert!(stage.taint_writes("a").is_empty());
    stage.answers = true;
    stage.run(s(2));
    assert!(!stage.snapshot().blind);
    // The seconds between the last answer and the hang, and those until the next question, are hidden too.
    stage.run(s(12));
    assert_ne!(stage.verdict("a"), Verdict::Lost);
    stage.run(s(4));
    assert_eq!(stage.verdict("a"), Verdict::Lost);
}

#[test]
fn hangs_in_a_row_do_not_add_up() {
    let mut stage = lone();
    for _ in 0..20 {
        stage.answers = false;
        stage.run(s(4) + ms(500));
        wake(&mut stage);
        stage.run(ms(100));
    }
    assert_eq!(stage.verdict("a"), Verdict::Ready, "90 s are hidden, and 2 s are not");
}

#[test]
fn a_pause_of_ours_is_no_hang_of_the_api_server() {
    let mut stage = lone();
    stage.run(s(20) + ms(600));
    stage.jump(s(3_600));
    stage.run(ms(0));
    stage.run(s(9) + ms(400));
    assert_eq!(stage.verdict("a"), Verdict::Late, "30 s of age");
    stage.run(ms(1));
    assert_eq!(stage.verdict("a"), Verdict::Lost, "30.001 s of age");
}

#[test]
fn an_empty_fleet_asks_nothing_and_is_not_blind() {
    let mut stage = Stage::with(&[]);
    stage.run(s(10));
    assert_eq!((questions(&stage), stage.snapshot().blind), (0, false));
}

#[test]
fn what_beats_every_second_is_sign_enough() {
    let mut stage = Stage::with(&[("a", 10), ("b", 1)]);
    let before = questions(&stage);
    for _ in 0..20 {
        stage.run(ms(950));
        stage.beat("b");
    }
    // One when `a` is Late, which happens between two beats.
    assert_eq!(questions(&stage) - before, 1);
}
