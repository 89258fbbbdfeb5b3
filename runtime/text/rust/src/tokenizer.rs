//! A tokenizer.json, through the crate that its authors use.

use crate::Failure;
use tokenizers::Tokenizer;

pub struct Handle {
    tokenizer: Tokenizer,
}

impl Handle {
    pub fn open(json: &[u8]) -> Result<Self, Failure> {
        let mut tokenizer = Tokenizer::from_bytes(json)?;
        // A file may carry its training run's truncation and padding; a prompt is never cut or padded.
        tokenizer.with_truncation(None)?;
        tokenizer.with_padding(None);
        Ok(Handle { tokenizer })
    }

    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Failure> {
        Ok(self.tokenizer.encode_fast(text, add_special)?.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Failure> {
        self.tokenizer.decode(ids, skip_special)
    }

    pub fn describe(&self) -> String {
        let size = self.tokenizer.get_vocab(true).values().max().map_or(0, |id| u64::from(*id) + 1);
        let added = self.tokenizer.get_added_tokens_decoder();
        let mut special: Vec<u32> =
            added.iter().filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        special.sort_unstable();
        serde_json::json!({ "size": size, "special": special }).to_string()
    }

    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.tokenizer.token_to_id(text)
    }

    pub fn token_text(&self, id: u32) -> Result<String, Failure> {
        self.tokenizer.id_to_token(id).ok_or_else(|| format!("no token has the id {id}").into())
    }
}
