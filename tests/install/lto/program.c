/* A program with a function of the same name as one that the library hides. */
int public_answer(void);
int hidden_answer(void);

int
hidden_answer(void)
{
        return 1;
}

int
main(void)
{
        return public_answer() == 42 && hidden_answer() == 1 ? 0 : 1;
}
