// The polls panel: questions with their answers to choose from, results in bars, and a form for a new one.

import { calmly, h } from './dom.js';
import { icon } from './icons.js';
import { displayName } from './common.js';
import { panel } from './panel.js';
import { MAX_ANSWERS } from '../proto/polls.js';
import { t } from '../i18n.js';

const MAX_QUESTION = 200; // characters
const MAX_ANSWER = 80;

export function pollsPanel({ conference, onclose }) {
  const { polls } = conference;
  const list = h('div', { class: 'polls', tabindex: '0', label: 'polls.title' });
  const foot = h('div', { class: 'panel-foot' }, h('button', { class: 'primary', type: 'button', id: 'new-poll', t: 'polls.new', onclick: () => write(true) }));
  const form = newPoll({ polls, ondone: () => write(false) });
  form.element.hidden = true;
  const element = panel('polls', 'polls.title', onclose, list, foot, form.element);
  const voting = new Set(); // ids of polls that are answered again
  const skipped = new Set(); // ids of polls whose results are looked at without an answer
  const choices = new Map(); // id -> what is ticked and not sent yet

  function write(on) {
    form.element.hidden = !on;
    foot.hidden = on;
    if (on) form.start();
    else foot.firstChild.focus();
  }

  function draw() {
    const at = document.activeElement?.dataset?.at; // a box stays focused when somebody else's vote draws all anew
    list.replaceChildren(...(polls.list.length > 0 ? polls.list.map(card).reverse() : [h('p', { class: 'hint', t: 'polls.empty' })]));
    if (at) list.querySelector(`[data-at="${CSS.escape(at)}"]`)?.focus();
  }

  function card(poll) {
    const results = !voting.has(poll.id) && (poll.mine || skipped.has(poll.id));
    const by = displayName({ id: poll.sender ?? '', name: poll.sender === conference.id ? t('meeting.you') : conference.nameOf(poll.sender) || poll.senderName });
    return h('article', { class: 'poll', 'data-id': poll.id }, h('h3', {}, poll.question), h('p', { class: 'hint' }, t('polls.by', { name: by })), results ? resultsOf(poll) : ballot(poll));
  }

  function ballot(poll) {
    const choice = choices.get(poll.id) ?? poll.mine?.slice() ?? poll.answers.map(() => false);
    choices.set(poll.id, choice);
    const send = h('button', { class: 'primary', type: 'submit', t: 'polls.vote', disabled: !choice.includes(true) });
    const box = (a, i) => {
      const input = h('input', { type: 'checkbox', 'data-at': `${poll.id}/${i}`, onchange: () => ((choice[i] = input.checked), (send.disabled = !choice.includes(true))) });
      input.checked = choice[i];
      return h('label', { class: 'choice' }, input, h('span', {}, a.name));
    };
    const leave = (set, fn) => () => (fn(), choices.delete(poll.id), voting.delete(poll.id), set?.add(poll.id), draw());
    return h(
      'form',
      { onsubmit: (ev) => (ev.preventDefault(), leave(null, () => polls.vote(poll, choice))()) },
      h('fieldset', {}, h('legend', { class: 'sr-only' }, poll.question), poll.answers.map(box)),
      h('div', { class: 'buttons end' }, h('button', { type: 'button', t: 'polls.look', onclick: leave(skipped, () => {}) }), send),
    );
  }

  function resultsOf(poll) {
    const voters = new Set(poll.answers.flatMap((a) => [...a.voters.keys()]));
    const line = (a, i) => {
      const names = [...a.voters].map(([id, name]) => displayName({ id, name: id === conference.id ? t('meeting.you') : conference.nameOf(id) || name })).join(', ');
      const share = h('meter', { class: 'share', min: '0', max: '1', 'aria-hidden': 'true' });
      share.value = voters.size > 0 ? a.voters.size / voters.size : 0;
      return h('li', {}, h('div', {}, h('span', {}, a.name, poll.mine?.[i] && icon('check')), h('b', {}, String(a.voters.size))), share, names && h('small', {}, names));
    };
    const again = h('button', { type: 'button', t: poll.mine ? 'polls.change' : 'polls.vote', onclick: () => (skipped.delete(poll.id), voting.add(poll.id), draw()) });
    return h('div', {}, h('ul', { class: 'results' }, poll.answers.map(line)), h('div', { class: 'buttons end' }, h('small', { class: 'hint' }, t('polls.voters', { n: voters.size })), again));
  }

  const off = polls.on('change', calmly(list, draw));
  draw();
  return { element, off, refresh: draw, focus: () => element.querySelector('button').focus() };
}

// newPoll is the form for a question with two answers or more.
function newPoll({ polls, ondone }) {
  const question = h('input', { id: 'poll-question', maxlength: String(MAX_QUESTION), required: true, autocomplete: 'off' });
  const answers = h('ol', { class: 'poll-answers' });
  const error = h('p', { class: 'error', role: 'alert', hidden: true });
  const more = h('button', { type: 'button', id: 'poll-more', onclick: () => add().focus() }, icon('plus'), h('span', { t: 'polls.addAnswer' }));

  function add() {
    const input = h('input', { maxlength: String(MAX_ANSWER), autocomplete: 'off', 'aria-label': t('polls.answer', { n: answers.children.length + 1 }), placeholder: 'polls.answerHint' });
    const remove = h('button', { class: 'quiet', type: 'button', label: 'polls.removeAnswer', onclick: () => (item.remove(), limit(), question.focus()) }, icon('close'));
    const item = h('li', { class: 'joined' }, input, remove);
    answers.append(item);
    limit();
    return input;
  }

  function limit() {
    more.hidden = answers.children.length >= MAX_ANSWERS;
    for (const b of answers.querySelectorAll('button')) b.hidden = answers.children.length <= 2;
  }

  function submit(ev) {
    ev.preventDefault();
    const texts = [...answers.querySelectorAll('input')].map((i) => i.value.trim()).filter(Boolean);
    const problem = new Set(texts).size < Math.max(2, texts.length) ? 'polls.needAnswers' : !polls.create(question.value.trim(), texts) && 'polls.tooLong';
    error.hidden = !problem;
    if (problem) error.textContent = t(problem);
    else ondone();
  }

  return {
    element: h(
      'form',
      { class: 'poll-form', onsubmit: submit },
      h('label', { for: 'poll-question', t: 'polls.question' }),
      question,
      answers,
      more,
      error,
      h('div', { class: 'buttons end' }, h('button', { type: 'button', t: 'ask.cancel', onclick: ondone }), h('button', { class: 'primary', type: 'submit', t: 'polls.ask' })),
    ),
    start() {
      question.value = '';
      error.hidden = true;
      answers.replaceChildren();
      add();
      add();
      question.focus();
    },
  };
}
