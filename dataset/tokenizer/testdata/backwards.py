"""Writes backwards.json: what Hugging Face's library makes of texts by SentencePiece's character maps, and of tokens by
decoders.

python backwards.py [OUTPUT]
"""
import base64
import io
import json
import pathlib
import random
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

random.seed(1)
TEXTS = ["", "plain ascii", "ﬁne Ⅷ ½ ①", "e\u0301 a\u0301 combining", "x\u0301\u0323", "\r\n line\r", "ＦＵＬＬ ｗｉｄｔｈ", "😀 👩‍👩‍👧 𝒳",
         "नमस्ते", "a\u00a0b\u3000c", "한국어 \u1112\u1161\u11ab", "\u0000zero", "ab abc abd", "a\u0301b\u0301"]
TEXTS += ["".join(random.choice("ab e\u0301\u0323ﬁ½Ａ\r\n한\u1112\u1161😀\u200d") for _ in range(random.randint(1, 12))) for _ in range(60)]


def charsmap(rules):
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d, "rules.tsv")
        path.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in a)}\t{' '.join(f'{ord(c):X}' for c in b)}\n" for a, b in rules))
        out = io.BytesIO()
        lines = ["hello world of text", "the quick brown fox", "abc abd ab"] * 20
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, vocab_size=40, hard_vocab_limit=False,
                                                 normalization_rule_tsv=str(path), minloglevel=2)
    m = pb.ModelProto()
    m.ParseFromString(out.getvalue())
    return m.normalizer_spec.precompiled_charsmap


RULES = [("ﬁ", "fi"), ("½", "1/2"), ("①", "1"), ("e\u0301", "é"), ("a\u0301", "á"), ("\u3000", " "), ("\u00a0", " "), ("abc", "X"),
         ("\u1112\u1161\u11ab", "한"), ("\u0323", ""), ("\r", " "), ("Ⅷ", "VIII")] + [(chr(0xFF01 + i), chr(0x21 + i)) for i in range(94)]
charmaps = []
for rules in (RULES, RULES[:3]):
    blob = charsmap(rules)
    n = normalizers.Precompiled(blob)
    charmaps.append({"map": base64.b64encode(blob).decode(), "cases": [[t, n.normalize_str(t)] for t in TEXTS]})

decoding = []
PIECES = ["[UNK]", "[CLS]", "hello", "##ing", "do", "n't", ",", ".", "▁we", "▁", "ll", "Ġso", "Ã©", "Ã", "ĠĊ", "he</w>", "</w>", "<0xE2>", "<0x82>", "<0xAC>", "<0xFF>",
          " 's", "x", "▁▁y", "é", "##'", "not", " do not", "F0", "ðŁĺ", "Ģ"]
for d in (None, decoders.WordPiece(), decoders.WordPiece(prefix="##", cleanup=False), decoders.ByteLevel(), decoders.Metaspace(),
          decoders.Metaspace(prepend_scheme="never"), decoders.BPEDecoder(), decoders.Fuse(), decoders.ByteFallback(),
          decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])):
    t = Tokenizer(models.WordLevel({p: i for i, p in enumerate(PIECES)}, unk_token="[UNK]"))
    t.add_special_tokens(["[CLS]"])
    t.add_tokens([AddedToken("<added>")])
    if d is not None:
        t.decoder = d
    cases = [[ids, t.decode(ids)] for ids in [[], [1], [2, 3, 999]] + [[random.randrange(len(PIECES) + 1) for _ in range(random.randint(1, 10))] for _ in range(60)]]
    decoding.append({"tokenizer": json.loads(t.to_str()), "cases": cases})

path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).with_name("backwards.json")
path.write_text(json.dumps({"charmaps": charmaps, "decoding": decoding}, separators=(",", ":")) + "\n")
