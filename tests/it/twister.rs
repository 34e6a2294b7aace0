//! The random numbers of Python's `random`, so that a model written there can be replayed here.
//!
//! MT19937 (Matsumoto and Nishimura, 1998), seeded by `init_by_array` with one word as
//! `random.seed(int)` does, 53-bit fractions as `random.random()`.

const N: usize = 624;
const M: usize = 397;

pub(crate) struct Twister {
    state: [u32; N],
    at: usize,
}

impl Twister {
    /// `random.seed(seed)`
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let word = u32::try_from(i).expect("small");
            state[i] = 1_812_433_253u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(word);
        }
        let mut i = 1;
        for _ in 0..N {
            state[i] = (state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525)).wrapping_add(seed);
            i = next(i, &mut state);
        }
        for _ in 0..N - 1 {
            let word = u32::try_from(i).expect("small");
            state[i] =
                (state[i] ^ (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(word);
            i = next(i, &mut state);
        }
        state[0] = 0x8000_0000;
        Self { state, at: N }
    }

    fn word(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let joined = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (joined >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// `random.random()`
    fn fraction(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// `random.uniform(a, b)`
    pub(crate) fn uniform(&mut self, a: f64, b: f64) -> f64 {
        a + (b - a) * self.fraction()
    }
}

fn next(i: usize, state: &mut [u32; N]) -> usize {
    if i + 1 == N {
        state[0] = state[N - 1];
        1
    } else {
        i + 1
    }
}

#[test]
fn the_numbers_are_pythons() {
    // python3 -c 'import random; random.seed(7); print([random.random() for _ in range(3)])'
    let mut random = Twister::new(7);
    assert_eq!([0, 1, 2].map(|_| random.fraction()), PYTHON);
}

const PYTHON: [f64; 3] = [0.32383276483316237, 0.15084917392450192, 0.6509344730398537];
